// SPDX-License-Identifier: Apache-2.0
// Console device with any number of ports. Virtio 1.2, 5.3.
#pragma once

#include <deque>
#include <vector>

#include "hw/virtio/serial_port.h"
#include "hw/virtio/virtio_device.h"

namespace emu::hw {

class VirtioSerial final : public VirtioDevice {
 public:
  static constexpr const char* kDeviceType = "virtio-serial-device";
  static constexpr u32 kMostPorts = 511;

  VirtioSerial();
  static void describe(TypeInfo<VirtioSerial>& type);
  Result<void> realize() override;

  u16 pci_class() const override { return 0x0780; }
  unsigned default_vectors() const override { return max_ports_ + 1; }
  u64 device_features() const override;
  void fill_config(std::span<u8> config) const override;
  void config_written(std::span<const u8> config, u32 offset, u32 size) override;
  void handle_queue(unsigned index) override;
  void driver_ready() override;
  void virtio_reset() override;

  // For ports.
  u32 max_ports() const { return max_ports_; }
  VirtioSerialPort* port(u32 number) const { return number < ports_.size() ? ports_[number] : nullptr; }
  /// A number for a port that asked for none; nothing when all are taken.
  std::optional<u32> free_number(bool console) const;
  void add_port(VirtioSerialPort& port);
  void remove_port(VirtioSerialPort& port);
  /// The host's end was opened or closed.
  void host_end_changed(const VirtioSerialPort& port);
  VirtQueue& receive_queue(u32 port) const { return *queue(port == 0 ? 0 : 2 + 2 * port); }
  VirtQueue& transmit_queue(u32 port) const { return *queue(port == 0 ? 1 : 3 + 2 * port); }
  bool is_driver_ready() const { return is_running(); }
  bool is_multiport() const;

 private:
  enum class Event : u16 {
    DeviceReady = 0,
    DeviceAdd = 1,
    DeviceRemove = 2,
    PortReady = 3,
    ConsolePort = 4,
    Resize = 5,
    PortOpen = 6,
    PortName = 7,
  };
  static constexpr unsigned kControlIn = 2, kControlOut = 3;

  void send_control(u32 port, Event event, u16 value, std::string_view text = {});
  void flush_control();
  void control_received(const VirtElement& element);
  void fields(Archive& ar);

  u32 max_ports_ = 31;
  bool emergency_write_ = true;
  std::vector<VirtioSerialPort*> ports_;
  std::deque<std::vector<u8>> control_;  ///< for the driver, as it gives buffers
};

/// Registers the bus and the ports.
void register_virtio_serial_ports(TypeRegistry& registry);

}  // namespace emu::hw
