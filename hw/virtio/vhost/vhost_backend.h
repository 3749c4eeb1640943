// SPDX-License-Identifier: Apache-2.0
// Who serves virtqueues in this program's place: the kernel, or another process.
#pragma once

#include <string>

#include "hw/virtio/vhost/vhost_memory.h"
#include "util/result.h"

namespace emu::hw {

/// What vhost-user and the kernel's vhost have in common. Machine lock. After an error the back end may be in any
/// state: it is not asked again, but for stop_ring(), until it was made anew.
class VhostBackend {
 public:
  virtual ~VhostBackend() = default;
  /// "chardev 'c'", "/dev/vhost-net": for messages.
  virtual std::string name() const = 0;
  /// Virtio feature bits that it can serve.
  virtual u64 features() const = 0;
  /// Rings that it can serve.
  virtual unsigned most_rings() const = 0;
  /// Whether it maps guest memory itself, which then must be of the shared kind.
  virtual bool maps_memory() const = 0;

  virtual Result<void> set_features(u64 features) = 0;
  virtual Result<void> set_memory(const VhostMemory& memory) = 0;
  struct Ring {
    unsigned index = 0;
    u16 size = 0;
    u64 descriptors = 0, driver_area = 0, device_area = 0;  ///< our own addresses
    u32 base = 0;                                           ///< where to go on, see VhostDevice
    int kick_fd = -1, call_fd = -1;
  };
  /// Gives the ring to the back end, which does not serve it before it is enabled.
  virtual Result<void> set_ring(const Ring& ring) = 0;
  virtual Result<void> enable_ring(unsigned index, bool on) = 0;
  /// All rings are set and enabled as they are to be; and the last moment before they stop.
  virtual Result<void> begin() { return {}; }
  virtual Result<void> end() { return {}; }
  /// Takes the ring back: nothing of it is under way any more. Gives the base to go on at.
  virtual Result<u32> stop_ring(unsigned index) = 0;
};

}  // namespace emu::hw
