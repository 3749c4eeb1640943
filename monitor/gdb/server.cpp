// SPDX-License-Identifier: Apache-2.0
#include "monitor/gdb/server.h"

#include "util/log.h"

namespace emu::monitor::gdb {

Server::Server(Chardev& stream, std::unique_ptr<MachineTarget> target)
    : stream_(stream),
      target_(std::move(target)),
      protocol_(*target_, [this](std::string_view bytes) { send(bytes); }) {}

Result<std::unique_ptr<Server>> Server::create(Chardev& stream, Monitors& monitors,
                                               const MakeRegisters& make_registers) {
  auto target = EMU_TRY(MachineTarget::create(monitors, make_registers));
  std::unique_ptr<Server> server(new Server(stream, std::move(target)));
  EMU_TRY(stream.attach(*server));
  return server;
}

Server::~Server() { stream_.detach(*this); }

void Server::event(ChardevEvent event) {
  if (event == ChardevEvent::Opened && !is_connected_) {
    is_connected_ = true;
    protocol_.connected();
  } else if (event == ChardevEvent::Closed && is_connected_) {
    is_connected_ = false;
    output_.clear();
    protocol_.disconnected();
  }
}

void Server::receive(std::span<const u8> data) {
  if (!is_connected_) event(ChardevEvent::Opened);
  is_receiving_ = true;
  protocol_.receive(data);
  is_receiving_ = false;
}

void Server::debug_stopped(unsigned cpu, const accel::DebugStop& stop) {
  target_->stopped();
  protocol_.debug_stopped(cpu, stop);
}

void Server::machine_stopped(std::string_view status) {
  target_->stopped();
  protocol_.machine_stopped(status);
}

void Server::send(std::string_view bytes) {
  if (!is_connected_) return;
  if (output_.size() + bytes.size() > kOutputLimit) {
    log::warn("gdb: the debugger on chardev '{}' does not read; an answer is lost", stream_.id());
    return;
  }
  output_.push(std::span(reinterpret_cast<const u8*>(bytes.data()), bytes.size()));
  flush();
}

void Server::flush() {
  while (!output_.empty()) {
    const std::size_t taken = stream_.write(output_.front());
    if (taken == 0) return;
    output_.pop(taken);
  }
}

}  // namespace emu::monitor::gdb
