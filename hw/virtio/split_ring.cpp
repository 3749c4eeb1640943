// SPDX-License-Identifier: Apache-2.0
// Split virtqueues. Virtio 1.2, 2.7.
#include <atomic>

#include "hw/virtio/virt_queue.h"

namespace emu::hw {

using namespace virtio;

namespace {

struct SplitDescriptor {  // 2.7.5
  Le64 address;
  Le32 length;
  Le16 flags;
  Le16 next;
};
static_assert(sizeof(SplitDescriptor) == 16);

struct UsedElement {  // 2.7.8
  Le32 id;
  Le32 length;
};

constexpr u16 kNoInterrupt = 1;  // available ring's flags
constexpr u16 kNoNotify = 1;     // used ring's flags
// Offsets in the available and the used ring.
constexpr u64 kFlags = 0, kIndex = 2, kRing = 4;

}  // namespace

class SplitRing final : public VirtRing {
 public:
  SplitRing(mem::AddressSpace& space, const VirtQueue::Setup& setup, const RingFeatures& features)
      : space_(space),
        size_(setup.size),
        features_(features),
        descriptors_(space, setup.descriptors, 16 * u64(size_)),
        available_(space, setup.driver_area, 6 + 2 * u64(size_)),
        used_ring_(space, setup.device_area, 6 + 8 * u64(size_)) {}

  int pop(VirtElement& element, std::string& error) override {
    if (!has_more()) return outside_ ? broken(error, "the available ring is not in RAM") : 0;
    if (u16(seen_index_ - avail.index) > size_) {
      return broken(error, fmt::format("available index {} is too far from {}", seen_index_, avail.index));
    }
    const auto head = available_.read<Le16>(kRing + 2 * u64(avail.index % size_));
    if (!head) return broken(error, "the available ring is not in RAM");
    if (*head >= size_) return broken(error, fmt::format("head {} of a queue of {}", *head, size_));
    if (!follow(*head, element, error)) return -1;
    element.id_ = *head;
    element.descriptors_ = 1;
    ++avail.index;
    // 2.7.10: the driver compares with this only when it may notify; while it need not, a stale value is as good.
    if (features_.event_idx && notifications_) write_avail_event();
    return 1;
  }

  bool push(const VirtElement& element, u32 written) override {
    if (!used_ring_.write<UsedElement>(kRing + 8 * u64(used.index % size_), {u32(element.id_), written})) return false;
    ++used.index;
    return hidden_ || show_index();
  }
  void hide_pushed() override { hidden_ = true; }
  bool show_pushed() override {
    hidden_ = false;
    return show_index();
  }

  bool has_more() override {
    if (seen_index_ != avail.index && seen_valid_) return true;
    const auto index = available_.read<Le16>(kIndex);
    outside_ = !index.has_value();
    if (outside_) return false;
    std::atomic_thread_fence(std::memory_order_acquire);  // the index before the entries that it shows
    seen_index_ = *index;
    seen_valid_ = true;
    return seen_index_ != avail.index;
  }

  void want_notifications(bool wanted) override {
    notifications_ = wanted;
    if (features_.event_idx) {
      if (wanted) write_avail_event();
    } else {
      static_cast<void>(used_ring_.write<Le16>(kFlags, wanted ? 0 : kNoNotify));
    }
    // Whoever asked looks at the index again: the driver may have missed this.
    if (wanted) std::atomic_thread_fence(std::memory_order_seq_cst);
  }

  bool should_interrupt() override {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the used index is written before the wish is read
    const u16 before = signalled_;
    const bool was_valid = signalled_valid_;
    signalled_ = used.index;
    signalled_valid_ = true;
    if (!features_.event_idx) return (available_.read<Le16>(kFlags).value_or(0) & kNoInterrupt) == 0;
    if (!was_valid) return true;
    const auto event = available_.read<Le16>(kRing + 2 * u64(size_));
    // 2.7.7.2, written so that it holds across wrap-around of the 16-bit index.
    return event && u16(used.index - *event - 1) < u16(used.index - before);
  }

  void rewind(u32 descriptors) override {
    avail.index = u16(avail.index - descriptors);
    seen_valid_ = false;
  }

 private:
  bool show_index() {
    std::atomic_thread_fence(std::memory_order_release);  // the entries before the index that shows them
    return used_ring_.write<Le16>(kIndex, used.index);
  }

  static int broken(std::string& error, std::string why) {
    error = std::move(why);
    return -1;
  }

  void write_avail_event() {
    static_cast<void>(used_ring_.write<Le16>(kRing + 8 * u64(size_), avail.index));
  }

  /// Walks a chain, 2.7.5; an indirect table may stand at its end, 2.7.5.3.
  bool follow(u16 head, VirtElement& element, std::string& error) {
    mem::RamWindow indirect;
    mem::RamWindow* table = &descriptors_;
    u32 entries = size_, visited = 0;
    u32 index = head;
    for (;;) {
      // As many steps as there are entries: more is a loop.
      if (++visited > entries) return broken(error, "a chain is longer than its table") == 0;
      const auto d = table->read<SplitDescriptor>(16 * u64(index));
      if (!d) return broken(error, fmt::format("descriptor {} is not in RAM", index)) == 0;
      const u16 flags = d->flags.get();
      const u32 length = d->length.get();
      if (flags & kDescIndirect) {
        if (!features_.indirect) return broken(error, "indirect descriptor without the feature") == 0;
        if (table != &descriptors_) return broken(error, "indirect descriptor in an indirect table") == 0;
        if (flags & kDescNext) return broken(error, "indirect descriptor with a next one") == 0;
        if (length == 0 || length % 16 != 0 || length / 16 > kMaxQueueSize) {
          return broken(error, fmt::format("indirect table of {} bytes", length)) == 0;
        }
        indirect = mem::RamWindow(space_, d->address.get(), length);
        table = &indirect;
        entries = length / 16;
        visited = 0;
        index = 0;
        continue;
      }
      if (!element.add(d->address.get(), length, (flags & kDescWrite) != 0)) {
        return broken(error, "readable buffer after a writable one, or too many buffers") == 0;
      }
      if (!(flags & kDescNext)) return true;
      index = d->next.get();
      if (index >= entries) return broken(error, fmt::format("next {} in a table of {}", index, entries)) == 0;
    }
  }

  mem::AddressSpace& space_;
  const u16 size_;
  const RingFeatures features_;
  mem::RamWindow descriptors_, available_, used_ring_;
  u16 seen_index_ = 0;  ///< the driver's index when last read
  bool seen_valid_ = false;
  bool outside_ = false;
  bool hidden_ = false;
  bool notifications_ = true;
  u16 signalled_ = 0;  ///< used index at the last decision about an interrupt
  bool signalled_valid_ = false;
};

std::unique_ptr<VirtRing> make_split_ring(mem::AddressSpace& space, const VirtQueue::Setup& setup,
                                          const RingFeatures& features) {
  return std::make_unique<SplitRing>(space, setup, features);
}

}  // namespace emu::hw
