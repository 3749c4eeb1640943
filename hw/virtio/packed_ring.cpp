// SPDX-License-Identifier: Apache-2.0
// Packed virtqueues. Virtio 1.2, 2.8.
#include <atomic>

#include "hw/virtio/virt_queue.h"

namespace emu::hw {

using namespace virtio;

namespace {

struct PackedDescriptor {  // 2.8.13
  Le64 address;
  Le32 length;
  Le16 id;
  Le16 flags;
};
static_assert(sizeof(PackedDescriptor) == 16);
constexpr u64 kFlagsOffset = 14;

// Event suppression structures, 2.8.14: offset and wrap counter, then flags.
constexpr u64 kEventPosition = 0, kEventFlags = 2;
enum EventFlags : u16 { kEnable = 0, kDisable = 1, kAtPosition = 2 };

}  // namespace

class PackedRing final : public VirtRing {
 public:
  PackedRing(mem::AddressSpace& space, const VirtQueue::Setup& setup, const RingFeatures& features)
      : space_(space),
        size_(setup.size),
        features_(features),
        ring_(space, setup.descriptors, 16 * u64(size_)),
        driver_(space, setup.driver_area, 4),
        device_(space, setup.device_area, 4) {}

  int pop(VirtElement& element, std::string& error) override {
    if (!has_more()) return outside_ ? broken(error, "the ring is not in RAM") : 0;
    RingPosition at = avail;
    for (u32 taken = 1;; ++taken) {
      if (taken > size_) return broken(error, "a chain is longer than the ring");
      const auto d = ring_.read<PackedDescriptor>(16 * u64(at.index));
      if (!d) return broken(error, "the ring is not in RAM");
      const u16 flags = d->flags.get();
      step(at);
      if (flags & kDescIndirect) {
        if (taken != 1 || (flags & kDescNext)) return broken(error, "indirect descriptor in a chain");
        if (!follow(d->address.get(), d->length.get(), element, error)) return -1;
      } else if (!element.add(d->address.get(), d->length.get(), (flags & kDescWrite) != 0)) {
        return broken(error, "readable buffer after a writable one, or too many buffers");
      }
      if (flags & kDescNext) continue;
      element.id_ = d->id.get();  // 2.8.6: that of the last one counts
      element.descriptors_ = u16(taken);
      break;
    }
    avail = at;
    if (features_.event_idx && notifications_) write_position();
    return 1;
  }

  bool push(const VirtElement& element, u32 written) override {
    const u64 place = 16 * u64(used.index);
    PackedDescriptor d;
    d.length = written;
    d.id = element.id_;
    // Everything but the flags, which show it, 2.8.15.
    if (!ring_.write(place + 8, {reinterpret_cast<const u8*>(&d) + 8, 6})) return false;
    std::atomic_thread_fence(std::memory_order_release);
    const u16 wrap_bits = used.wrap ? kDescAvail | kDescUsed : 0;
    const u16 written_flag = written != 0 ? kDescWrite : 0;
    const u16 flags = u16(wrap_bits | written_flag);
    if (hidden_ && !first_) {
      first_ = {place, flags};  // drivers look at one after the other: without this one they do not see the rest
    } else if (!ring_.write<Le16>(place + kFlagsOffset, flags)) {
      return false;
    }
    for (u32 i = 0; i < element.descriptors_; ++i) step(used);
    pushed_ += element.descriptors_;
    return true;
  }

  void hide_pushed() override { hidden_ = true; }
  bool show_pushed() override {
    hidden_ = false;
    const auto first = std::exchange(first_, std::nullopt);
    if (!first) return true;
    std::atomic_thread_fence(std::memory_order_release);
    return ring_.write<Le16>(first->first + kFlagsOffset, first->second);
  }

  bool has_more() override {
    const auto flags = ring_.read<Le16>(16 * u64(avail.index) + kFlagsOffset);
    outside_ = !flags.has_value();
    if (outside_) return false;
    std::atomic_thread_fence(std::memory_order_acquire);  // the flags before what they show
    const bool available = (*flags & kDescAvail) != 0, is_used = (*flags & kDescUsed) != 0;
    return available == avail.wrap && is_used != avail.wrap;
  }

  void want_notifications(bool wanted) override {
    notifications_ = wanted;
    if (!wanted) {
      static_cast<void>(device_.write<Le16>(kEventFlags, kDisable));
    } else {
      if (features_.event_idx) {
        write_position();
        std::atomic_thread_fence(std::memory_order_release);
      }
      static_cast<void>(device_.write<Le16>(kEventFlags, features_.event_idx ? kAtPosition : kEnable));
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
  }

  bool should_interrupt() override {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const u32 since = std::exchange(pushed_, 0);
    const auto flags = driver_.read<Le16>(kEventFlags);
    if (!flags || *flags == kDisable) return false;
    if (!features_.event_idx || *flags != kAtPosition) return true;
    const auto position = driver_.read<Le16>(kEventPosition);
    if (!position) return false;
    // 2.8.10: has the position been passed by what was used since? Measured back from where we are now.
    const u16 index = *position & 0x7fff;
    const bool wrap = (*position >> 15) != 0;
    if (index >= size_) return true;
    // The position in the previous wrap lies a ring's length back.
    const i32 distance = i32(used.index) - i32(index) + (wrap != used.wrap ? i32(size_) : 0);
    return distance >= 1 && u32(distance) <= since;
  }

  void rewind(u32 descriptors) override {
    for (u32 i = 0; i < descriptors; ++i) {
      if (avail.index == 0) {
        avail.index = size_;
        avail.wrap = !avail.wrap;
      }
      --avail.index;
    }
  }

 private:
  static int broken(std::string& error, std::string why) {
    error = std::move(why);
    return -1;
  }

  void step(RingPosition& position) const {
    if (++position.index == size_) {
      position.index = 0;
      position.wrap = !position.wrap;
    }
  }

  void write_position() {
    static_cast<void>(device_.write<Le16>(kEventPosition, u16(avail.index | (avail.wrap ? 1u << 15 : 0))));
  }

  /// An indirect table: all its entries in order, 2.8.7; of their flags only WRITE counts.
  bool follow(mem::GuestPhys address, u32 length, VirtElement& element, std::string& error) {
    if (!features_.indirect) return broken(error, "indirect descriptor without the feature") == 0;
    if (length == 0 || length % 16 != 0 || length / 16 > kMaxQueueSize) {
      return broken(error, fmt::format("indirect table of {} bytes", length)) == 0;
    }
    mem::RamWindow table(space_, address, length);
    for (u32 i = 0; i < length / 16; ++i) {
      const auto d = table.read<PackedDescriptor>(16 * u64(i));
      if (!d) return broken(error, "an indirect table is not in RAM") == 0;
      if (!element.add(d->address.get(), d->length.get(), (d->flags.get() & kDescWrite) != 0)) {
        return broken(error, "readable buffer after a writable one, or too many buffers") == 0;
      }
    }
    return true;
  }

  mem::AddressSpace& space_;
  const u16 size_;
  const RingFeatures features_;
  mem::RamWindow ring_, driver_, device_;
  bool outside_ = false;
  bool hidden_ = false;
  std::optional<std::pair<u64, u16>> first_;  ///< hidden: where its flags go, and which
  bool notifications_ = true;
  u32 pushed_ = 0;  ///< slots since the last decision about an interrupt
};

std::unique_ptr<VirtRing> make_packed_ring(mem::AddressSpace& space, const VirtQueue::Setup& setup,
                                           const RingFeatures& features) {
  return std::make_unique<PackedRing>(space, setup, features);
}

}  // namespace emu::hw
