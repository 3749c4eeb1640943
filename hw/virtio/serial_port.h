// SPDX-License-Identifier: Apache-2.0
// Ports of a virtio console: virtconsole and virtserialport. Virtio 1.2, 5.3.
#pragma once

#include <optional>
#include <string>

#include "hw/char/chardev_object.h"
#include "hw/core/device.h"
#include "hw/virtio/virt_element.h"

namespace emu::hw {

class VirtioSerial;

/// Where ports plug in. Its owner is the virtio-serial-device.
class VirtioSerialBus final : public Bus {
 public:
  static constexpr const char* kTypeName = "virtio-serial-bus";
  Result<void> attach(Device& device) override;
  bool is_full() const override;
  VirtioSerial& serial() const;
};

/// Machine lock for all of it; the stream's calls take it.
class VirtioSerialPort : public Device, public chardev::ChardevFrontend {
 public:
  static constexpr const char* kTypeName = "virtio-serial-port";
  static void describe(TypeInfo<VirtioSerialPort>& type);
  Result<void> realize() override;
  void unrealize() override;

  u32 number() const { return *number_; }
  std::optional<u32> wanted_number() const { return number_; }
  void set_number(u32 number) { number_ = number; }
  virtual bool is_console() const = 0;
  const std::string& port_name() const { return port_name_; }
  /// Somebody is at the other end of the stream; always so for a port without one.
  bool is_host_open() const;

  // For the device.
  void guest_opened(bool open);
  void receive_buffers_added();
  void transmit();
  /// Puts bytes out at once (emergency write).
  void emergency_write(u8 byte);
  /// The device was reset: what is held goes back.
  void device_reset();

  // ChardevFrontend
  std::size_t can_receive() override;
  void receive(std::span<const u8> data) override;
  void event(chardev::ChardevEvent event) override;
  void writable() override;

 private:
  void fields(Archive& ar);
  bool send_some();
  void drop_held();
  bool may_receive() const;

  ChardevObject* chardev_ = nullptr;
  std::optional<u32> number_asked_;
  std::optional<u32> number_;
  std::string port_name_;
  VirtioSerial* serial_ = nullptr;

  bool guest_open_ = false;
  bool host_open_ = false;
  VirtElementPtr receiving_, sending_;
  u64 sent_bytes_ = 0;  ///< of sending_
};

/// The guest's hvc console.
class VirtConsole final : public VirtioSerialPort {
 public:
  static void describe(TypeInfo<VirtConsole>& type);
  bool is_console() const override { return true; }
};

/// A byte channel that the guest finds by its name.
class VirtSerialPort final : public VirtioSerialPort {
 public:
  static void describe(TypeInfo<VirtSerialPort>& type);
  bool is_console() const override { return false; }
};

}  // namespace emu::hw
