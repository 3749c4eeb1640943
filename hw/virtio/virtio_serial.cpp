// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_serial.h"

#include <algorithm>
#include <cstring>

#include "util/log.h"

namespace emu::hw {

using namespace virtio;

namespace {

constexpr u64 kMultiport = bit64(1), kEmergencyWrite = bit64(2);  // 5.3.3

struct Config {  // 5.3.4
  Le16 columns, rows;
  Le32 max_ports, emergency_write;
};
static_assert(sizeof(Config) == 12);
constexpr u32 kEmergencyOffset = 8;

struct Control {  // 5.3.6.2
  Le32 port;
  Le16 event, value;
};
static_assert(sizeof(Control) == 8);

constexpr u16 kQueueSize = 128, kControlQueueSize = 32;

}  // namespace

VirtioSerial::VirtioSerial() : VirtioDevice(DeviceId::Console, sizeof(Config)) {}

void VirtioSerial::describe(TypeInfo<VirtioSerial>& type) {
  type.doc("Consoles and byte channels");
  type.category(Category::Input);
  type.property("max_ports", &VirtioSerial::max_ports_, "ports it has room for");
  type.property("emergency-write", &VirtioSerial::emergency_write_, "offer output before the driver is ready");
  type.saved(1, &VirtioSerial::fields);
}

Result<void> VirtioSerial::realize() {
  if (max_ports_ == 0 || max_ports_ > kMostPorts) {
    return error("{}: maximum number of ports is {}, at least 1; max_ports={} was given", type().name(), kMostPorts,
                 max_ports_);
  }
  ports_.assign(max_ports_, nullptr);
  for (u32 i = 0; i < 2 * (max_ports_ + 1); ++i) {
    add_queue(i == kControlIn || i == kControlOut ? kControlQueueSize : kQueueSize);
  }
  // QEMU's name for it, which people write as bus=: of the function's id, where it has one.
  const auto* function = dynamic_cast<const Device*>(parent());
  const std::string base = function != nullptr && !function->id().empty() ? function->id() : id();
  add_bus<VirtioSerialBus>((base.empty() ? std::string("virtio-serial-bus") : base) + ".0");
  return {};
}

u64 VirtioSerial::device_features() const {
  return (max_ports_ > 1 ? kMultiport : 0) | (emergency_write_ ? kEmergencyWrite : 0);
}

bool VirtioSerial::is_multiport() const { return has_feature(kMultiport); }

void VirtioSerial::fill_config(std::span<u8> bytes) const {
  Config config;
  config.max_ports = max_ports_;
  std::memcpy(bytes.data(), &config, std::min(bytes.size(), sizeof config));
}

void VirtioSerial::config_written(std::span<const u8> config, u32 offset, u32) {
  if (!emergency_write_ || offset != kEmergencyOffset) return;
  for (VirtioSerialPort* port : ports_) {
    if (port != nullptr && port->is_console()) return port->emergency_write(config[kEmergencyOffset]);
  }
}

void VirtioSerial::driver_ready() {
  if (is_multiport()) return;  // it says which ports it has opened
  if (ports_[0] != nullptr) ports_[0]->guest_opened(true);
}

void VirtioSerial::virtio_reset() {
  control_.clear();
  for (VirtioSerialPort* port : ports_) {
    if (port != nullptr) port->device_reset();
  }
}

// Ports. -------------------------------------------------------------------------------------------------------------

std::optional<u32> VirtioSerial::free_number(bool console) const {
  // Port 0 is a console to drivers that know of no others.
  for (u32 number = console ? 0 : 1; number < max_ports_; ++number) {
    if (ports_[number] == nullptr) return number;
  }
  return std::nullopt;
}

void VirtioSerial::add_port(VirtioSerialPort& port) {
  ports_[port.number()] = &port;
  if (is_driver_ready()) send_control(port.number(), Event::DeviceAdd, 1);
}

void VirtioSerial::remove_port(VirtioSerialPort& port) {
  ports_[port.number()] = nullptr;
  if (is_driver_ready()) send_control(port.number(), Event::DeviceRemove, 1);
}

void VirtioSerial::host_end_changed(const VirtioSerialPort& port) {
  if (is_driver_ready()) send_control(port.number(), Event::PortOpen, port.is_host_open());
}

// Queues. ------------------------------------------------------------------------------------------------------------

void VirtioSerial::handle_queue(unsigned index) {
  if (index == kControlIn) return flush_control();
  if (index == kControlOut) {
    VirtQueue& control = *queue(kControlOut);
    control.process([&](VirtElementPtr element) {
      control_received(*element);
      control.push(std::move(element), 0);
      return true;
    });
    return control.notify();
  }
  const u32 number = index < kControlIn ? 0 : index / 2 - 1;
  VirtioSerialPort* there = port(number);
  if (index % 2 == 0) {
    if (there != nullptr) there->receive_buffers_added();
    return;
  }
  if (there != nullptr) return there->transmit();
  VirtQueue& output = *queue(index);
  output.process([&](VirtElementPtr element) {  // nobody listens
    output.push(std::move(element), 0);
    return true;
  });
  output.notify();
}

void VirtioSerial::send_control(u32 port, Event event, u16 value, std::string_view text) {
  if (!is_multiport()) return;
  // A driver that asks and asks and takes no answer.
  const size_t most = 16 * (max_ports_ + 1);
  if (control_.size() >= most) {
    log::guest_error("{}: {} control messages wait for the driver, the next one is dropped", path(), most);
    return;
  }
  Control control{port, u16(event), value};
  std::vector<u8> message(sizeof control + text.size());
  std::memcpy(message.data(), &control, sizeof control);
  std::copy(text.begin(), text.end(), message.begin() + sizeof control);  // it may be none at all
  control_.push_back(std::move(message));
  flush_control();
}

void VirtioSerial::flush_control() {
  VirtQueue& control = *queue(kControlIn);
  bool any = false;
  while (!control_.empty()) {
    VirtElementPtr element = control.pop();
    if (element == nullptr) break;
    const std::vector<u8>& message = control_.front();
    const size_t size = std::min<u64>(message.size(), element->writable_bytes());
    static_cast<void>(element->write(0, std::span(message).first(size)));
    control.push(std::move(element), u32(size));
    control_.pop_front();
    any = true;
  }
  if (any) control.notify();
}

void VirtioSerial::control_received(const VirtElement& element) {
  const auto control = element.read<Control>(0);
  if (!control) return;
  const auto event = Event(control->event.get());
  const u16 value = control->value.get();
  if (event == Event::DeviceReady) {
    if (value == 0) {
      log::guest_error("{}: the driver could not set itself up", path());
      return;
    }
    for (const VirtioSerialPort* port : ports_) {
      if (port != nullptr) send_control(port->number(), Event::DeviceAdd, 1);
    }
    return;
  }
  VirtioSerialPort* there = port(control->port.get());
  if (there == nullptr) {
    log::guest_error("{}: control message {} for port {}, which is not there", path(), u16(event), control->port.get());
    return;
  }
  switch (event) {
    case Event::PortReady:
      if (value == 0) {
        log::guest_error("{}: the driver could not add port {}", path(), there->number());
        return;
      }
      if (there->is_console()) send_control(there->number(), Event::ConsolePort, 1);
      if (!there->port_name().empty()) send_control(there->number(), Event::PortName, 1, there->port_name());
      if (there->is_host_open()) send_control(there->number(), Event::PortOpen, 1);
      return;
    case Event::PortOpen: return there->guest_opened(value != 0);
    default: log::guest_error("{}: control message {}", path(), u16(event));
  }
}

void VirtioSerial::fields(Archive& ar) {
  u32 count = u32(control_.size());
  ar("control_count", count);
  if (ar.is_loading()) control_.resize(std::min<size_t>(count, 16 * (max_ports_ + 1)));
  constexpr size_t kLongest = 4096;
  for (size_t i = 0; i < control_.size(); ++i) ar.bounded(fmt::format("control{}", i), control_[i], kLongest);
}

void register_virtio_serial_ports(TypeRegistry& registry) {
  registry.add_base<VirtioSerialBus, Bus>();
  registry.add_abstract<VirtioSerialPort, Device>();
  registry.add<VirtConsole>("virtconsole");
  registry.add<VirtSerialPort>("virtserialport");
}

}  // namespace emu::hw
