// SPDX-License-Identifier: Apache-2.0
#include "monitor/commands/net_streams.h"

#include "chardev/backends.h"
#include "hw/char/chardev_object.h"
#include "monitor/events.h"

namespace emu::monitor {
namespace {

class ChardevStream final : public net::ForwardStream, private ChardevFrontend {
 public:
  static Result<std::unique_ptr<net::ForwardStream>> make(std::unique_ptr<Chardev> own, Chardev& stream) {
    std::unique_ptr<ChardevStream> made(new ChardevStream(std::move(own), stream));
    EMU_TRY(stream.attach(*made));
    made->attached_ = true;
    return std::unique_ptr<net::ForwardStream>(std::move(made));
  }
  ~ChardevStream() override {
    if (attached_) stream_.detach(*this);
  }
  void set_sink(Sink* sink) override {
    sink_ = sink;
    if (sink != nullptr) stream_.accept_input();
  }
  void room_grew() override { stream_.accept_input(); }
  std::size_t write(std::span<const u8> data) override { return stream_.write(data); }

 private:
  ChardevStream(std::unique_ptr<Chardev> own, Chardev& stream) : own_(std::move(own)), stream_(stream) {}
  std::size_t can_receive() override { return sink_ != nullptr ? sink_->room() : 0; }
  void receive(std::span<const u8> data) override {
    if (sink_ != nullptr) sink_->bytes(data);
  }

  std::unique_ptr<Chardev> own_;
  Chardev& stream_;
  Sink* sink_ = nullptr;
  bool attached_ = false;
};

}  // namespace

net::StreamOpener stream_opener(hw::Machine& machine) {
  return [&machine](const std::string& text) -> Result<std::unique_ptr<net::ForwardStream>> {
    const chardev::SerialSpec spec = EMU_TRY(chardev::parse_serial(text, "guestfwd"));
    switch (spec.kind) {
      case chardev::SerialSpec::Kind::None:
        return error("'{}' is no stream", text);
      case chardev::SerialSpec::Kind::Reference: {
        auto* object = dynamic_cast<hw::ChardevObject*>(machine.tree().container("/chardevs").child(spec.reference));
        if (object == nullptr) return error("there is no chardev '{}'", spec.reference);
        return ChardevStream::make(nullptr, object->stream());
      }
      case chardev::SerialSpec::Kind::Inline:
        break;
    }
    auto own = EMU_TRY(chardev::create(spec.options, machine.loop()));
    Chardev& stream = *own;
    return ChardevStream::make(std::move(own), stream);
  };
}

net::StreamListener stream_events(Monitors& monitors) {
  return [&monitors, alive = monitors.alive()](const std::string& id, const std::optional<net::SocketAddress>& to) {
    if (!alive.lock()) return;
    if (!to) return monitors.emit("NETDEV_STREAM_DISCONNECTED", NetdevStreamDisconnectedEvent{id});
    NetdevStreamConnectedEvent event{.netdev_id = id, .addr = {}};
    switch (to->kind) {
      case net::SocketAddress::Kind::Inet:
        event.addr.inet.host = to->host;
        event.addr.inet.port = to->port;
        break;
      case net::SocketAddress::Kind::Unix:
        event.addr.type = SocketAddressKind::Unix;
        event.addr.path.path = to->path;
        break;
      case net::SocketAddress::Kind::Fd:
        event.addr.type = SocketAddressKind::Fd;
        event.addr.fd.str = fmt::format("{}", to->fd);
        break;
    }
    monitors.emit("NETDEV_STREAM_CONNECTED", event);
  };
}

}  // namespace emu::monitor
