// SPDX-License-Identifier: Apache-2.0
// What devices of which another process serves all queues have in common.
#pragma once

#include <memory>
#include <string>

#include "hw/virtio/vhost/vhost_device.h"
#include "hw/virtio/vhost/vhost_user.h"

namespace emu::hw {

/// An error where somebody else may not write to guest memory. `who`: the device, as its user named it.
Result<void> check_vhost_allowed(MachineServices& machine, const std::string& who);

/// A model calls open_backend(), adds its queues, then serve_queues(); and close_backend() in unrealize(). Also when
/// its own realize() fails.
class VhostUserDevice : public VirtioDevice {
 public:
  static constexpr const char* kTypeName = "vhost-user-device";
  static void describe(TypeInfo<VhostUserDevice>& type);
  void interrupts_rerouted() override;

 protected:
  using VirtioDevice::VirtioDevice;

  /// `needed`: protocol features.
  Result<void> open_backend(u64 needed);
  Result<void> serve_queues();
  void close_backend();
  VhostUser& backend() const { return *backend_; }
  bool has_backend() const { return backend_ != nullptr && backend_->is_connected(); }
  /// What the user calls it: the PCI function's type when it is inside one.
  std::string device_name() const;
  Result<void> check_queue_size(u16 size) const;

  /// The back end says that its configuration changed, or there is a new back end.
  virtual void backend_config_changed() {}

  // VirtioDevice
  u64 limit_features(u64 features) const override;
  void serving_starts() override;
  void serving_ends() override;
  /// The queues are the back end's.
  void handle_queue(unsigned) override {}

 private:
  ChardevObject* chardev_ = nullptr;
  std::unique_ptr<VhostUser> backend_;
  std::unique_ptr<VhostDevice> rings_;
};

}  // namespace emu::hw
