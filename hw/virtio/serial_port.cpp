// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/serial_port.h"

#include <algorithm>
#include <array>

#include "hw/virtio/virtio_serial.h"

namespace emu::hw {

namespace {
constexpr std::size_t kPiece = 4096;
/// The machine waits while bytes go out; a buffer longer than this goes in several turns.
constexpr u64 kMostAtOnce = 1 << 20;
constexpr std::size_t kLongestName = 1024;
}  // namespace

// The bus. -----------------------------------------------------------------------------------------------------------

VirtioSerial& VirtioSerialBus::serial() const {
  auto* device = dynamic_cast<VirtioSerial*>(owner());
  EMU_CHECK(device != nullptr);
  return *device;
}

bool VirtioSerialBus::is_full() const { return devices().size() >= serial().max_ports(); }

Result<void> VirtioSerialBus::attach(Device& device) {
  if (dynamic_cast<VirtioSerialPort*>(&device) == nullptr) {
    return error("{}: only ports go on a virtio-serial bus", device.type().name());
  }
  return Bus::attach(device);
}

// Life cycle. --------------------------------------------------------------------------------------------------------

void VirtioSerialPort::describe(TypeInfo<VirtioSerialPort>& type) {
  type.plugs_into(VirtioSerialBus::kTypeName);
  type.link("chardev", &VirtioSerialPort::chardev_, "/chardevs", "the stream behind the port");
  type.property("nr", &VirtioSerialPort::number_asked_, "number of the port; the first that is free if not given");
  type.property("name", &VirtioSerialPort::port_name_, "by which the guest finds it");
  type.saved(1, &VirtioSerialPort::fields);
}

void VirtConsole::describe(TypeInfo<VirtConsole>& type) {
  type.doc("Console port of a virtio-serial device");
  type.category(Category::Input);
}

void VirtSerialPort::describe(TypeInfo<VirtSerialPort>& type) {
  type.doc("Byte channel of a virtio-serial device");
  type.category(Category::Input);
}

Result<void> VirtioSerialPort::realize() {
  auto* slot = dynamic_cast<VirtioSerialBus*>(bus());
  if (slot == nullptr) return error("{}: a port needs a virtio-serial bus", type().name());
  VirtioSerial& serial = slot->serial();
  const auto number = number_asked_ ? number_asked_ : serial.free_number(is_console());
  if (!number) return error("{}: all ports of the virtio-serial device are taken", type().name());
  if (*number >= serial.max_ports()) {
    return error("{}: out-of-range port id specified, max. allowed: {}", type().name(), serial.max_ports() - 1);
  }
  if (*number == 0 && !is_console()) {
    return error("{}: port number 0 on virtio-serial devices is reserved for virtconsole devices", type().name());
  }
  if (serial.port(*number) != nullptr) return error("{}: a port already exists at id {}", type().name(), *number);
  if (port_name_.size() > kLongestName) return error("{}: name is longer than {}", type().name(), kLongestName);
  number_ = number;
  serial_ = &serial;
  host_open_ = chardev_ == nullptr;
  if (chardev_ != nullptr) {
    if (auto attached = chardev_->stream().attach(*this); !attached) {
      serial_ = nullptr;
      return error(std::move(attached).error().within(type().name()));
    }
    host_open_ = chardev_->stream().is_open();
  }
  serial.add_port(*this);
  return {};
}

void VirtioSerialPort::unrealize() {
  if (chardev_ != nullptr) chardev_->stream().detach(*this);
  drop_held();
  serial_->remove_port(*this);
  serial_ = nullptr;
  guest_open_ = false;
}

void VirtioSerialPort::device_reset() {
  drop_held();
  guest_open_ = false;
}

/// Back to the queue, unused; after a reset that swallows them.
void VirtioSerialPort::drop_held() {
  if (receiving_ != nullptr) serial_->receive_queue(number()).push_and_notify(std::move(receiving_), 0);
  if (sending_ != nullptr) serial_->transmit_queue(number()).push_and_notify(std::move(sending_), 0);
  sent_bytes_ = 0;
}

bool VirtioSerialPort::is_host_open() const { return host_open_; }

// To the outside. ----------------------------------------------------------------------------------------------------

void VirtioSerialPort::guest_opened(bool open) {
  guest_open_ = open;
  if (open && chardev_ != nullptr) chardev_->stream().accept_input();
}

void VirtioSerialPort::emergency_write(u8 byte) {
  if (chardev_ != nullptr) chardev_->stream().write(std::span<const u8>(&byte, 1));
}

/// Sends what is left of sending_; false when the stream takes no more now.
bool VirtioSerialPort::send_some() {
  std::array<u8, kPiece> bytes;
  const u64 end_of_turn = sent_bytes_ + kMostAtOnce;
  while (sent_bytes_ < sending_->readable_bytes()) {
    const std::size_t size = std::min<u64>(bytes.size(), sending_->readable_bytes() - sent_bytes_);
    if (!sending_->read(sent_bytes_, std::span(bytes).first(size))) break;  // not RAM: there is nothing to send
    const std::size_t taken =
        chardev_ == nullptr ? size : chardev_->stream().write(std::span<const u8>(bytes).first(size));
    sent_bytes_ += taken;
    if (taken < size) return false;
    if (sent_bytes_ >= end_of_turn) {
      serial_->kick(serial_->transmit_queue(number()).index());
      return false;
    }
  }
  return true;
}

void VirtioSerialPort::transmit() {
  VirtQueue& queue = serial_->transmit_queue(number());
  const auto finish = [&] {
    if (!send_some()) return false;
    sent_bytes_ = 0;
    queue.push(std::move(sending_), 0);
    return true;
  };
  if (sending_ == nullptr || finish()) {
    queue.process([&](VirtElementPtr element) {
      sending_ = std::move(element);
      return finish();
    });
  }
  queue.notify();
}

void VirtioSerialPort::writable() {
  const mem::MachineLockScope lock(memory().lock());
  if (serial_ != nullptr && serial_->is_driver_ready()) transmit();
}

// From the outside. --------------------------------------------------------------------------------------------------

void VirtioSerialPort::receive_buffers_added() {
  if (chardev_ != nullptr) chardev_->stream().accept_input();
}

bool VirtioSerialPort::may_receive() const {
  return serial_ != nullptr && serial_->is_driver_ready() && (guest_open_ || is_console());
}

std::size_t VirtioSerialPort::can_receive() {
  const mem::MachineLockScope lock(memory().lock());
  if (!may_receive()) return 0;
  VirtQueue& queue = serial_->receive_queue(number());
  while (receiving_ == nullptr) {
    receiving_ = queue.pop();
    if (receiving_ == nullptr) return 0;
    if (receiving_->writable_bytes() == 0) queue.push_and_notify(std::move(receiving_), 0);
  }
  return std::min<u64>(receiving_->writable_bytes(), kPiece);
}

void VirtioSerialPort::receive(std::span<const u8> data) {
  const mem::MachineLockScope lock(memory().lock());
  if (can_receive() < data.size()) return;  // closed since it was asked
  static_cast<void>(receiving_->write(0, data));
  serial_->receive_queue(number()).push_and_notify(std::move(receiving_), u32(data.size()));
}

void VirtioSerialPort::event(chardev::ChardevEvent event) {
  if (event != chardev::ChardevEvent::Opened && event != chardev::ChardevEvent::Closed) return;
  const mem::MachineLockScope lock(memory().lock());
  const bool open = event == chardev::ChardevEvent::Opened;
  if (open == host_open_) return;
  host_open_ = open;
  if (serial_ != nullptr && serial_->port(number()) == this) serial_->host_end_changed(*this);
}

// Saved state. -------------------------------------------------------------------------------------------------------

void VirtioSerialPort::fields(Archive& ar) {
  // The element itself is popped again after loading; sending goes on inside it.
  ar("guest_open", guest_open_)("sent_bytes", sent_bytes_);
}

}  // namespace emu::hw
