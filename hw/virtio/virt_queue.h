// SPDX-License-Identifier: Apache-2.0
// A virtqueue seen from the device: what the driver offers comes out, what is done goes back. Virtio 1.2, 2.6 to 2.8.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "hw/virtio/virt_element.h"
#include "hw/virtio/virtio_regs.h"
#include "qom/archive.h"
#include "softmmu/memory/ram_window.h"

namespace emu::hw {

class VirtQueue;

/// The device around a queue.
class VirtQueueOwner {
 public:
  virtual ~VirtQueueOwner() = default;
  virtual mem::AddressSpace& queue_memory() = 0;
  /// The driver broke the rules; the queue is dead until the device is reset. Any thread.
  virtual void ring_broken(const VirtQueue& queue, const std::string& why) = 0;
  /// The driver wants to hear of used buffers. Any thread.
  virtual void queue_interrupt(VirtQueue& queue) = 0;
  /// Of queues processed with Asking::WhenQuiet, on the queue's loop. An element was given back while the driver was not
  /// asked to notify: the queue is to be processed.
  virtual void look_again(VirtQueue& queue) { static_cast<void>(queue); }
  /// tick() is to be called in a millisecond or two, and the queue to be processed then.
  virtual void wants_tick(VirtQueue& queue) { static_cast<void>(queue); }
};

/// What was negotiated, as far as rings are concerned.
struct RingFeatures {
  bool packed = false, event_idx = false, indirect = false, in_order = false, notify_on_empty = false;
};

/// Which wrap of a packed ring an index is in, 2.8.1; split rings only use the index, which runs freely.
struct RingPosition {
  u16 index = 0;
  bool wrap = true;
  bool operator==(const RingPosition&) const = default;
};

/// How descriptors and indices lie in memory. Called under the queue's lock; `error` says what the driver did wrong.
class VirtRing {
 public:
  virtual ~VirtRing() = default;
  /// Fills `element` with the next chain: 1; nothing there: 0; broken: -1 and `error`.
  virtual int pop(VirtElement& element, std::string& error) = 0;
  /// Puts one element into the used ring; false when that memory is not there.
  virtual bool push(const VirtElement& element, u32 written) = 0;
  /// From here on what is pushed stays invisible, until show_pushed().
  virtual void hide_pushed() = 0;
  /// Shows it, all at once; false when that memory is not there.
  virtual bool show_pushed() = 0;
  virtual bool has_more() = 0;
  /// Asks the driver to notify us of new buffers, or not to bother.
  virtual void want_notifications(bool wanted) = 0;
  /// Whether the driver wants an interrupt for what was pushed since the last call.
  virtual bool should_interrupt() = 0;
  /// Gives back the last `descriptors` slots popped.
  virtual void rewind(u32 descriptors) = 0;

  RingPosition avail, used;  ///< next to pop; next to fill
};

/// One queue. The functions of the data path (pop to notify) are for the thread of the queue's loop; those of control
/// (configuration, reset) come under the machine lock. A lock of the queue's own, which no other queue waits for, lies
/// between them; under it nothing but RAM is accessed.
class VirtQueue {
 public:
  VirtQueue(VirtQueueOwner& owner, unsigned index, u16 max_size);
  ~VirtQueue();
  VirtQueue(const VirtQueue&) = delete;
  VirtQueue& operator=(const VirtQueue&) = delete;

  unsigned index() const { return index_; }
  u16 max_size() const { return max_size_; }

  // Control. -------------------------------------------------------------------------------------------------------
  /// What the driver has told us; takes effect at enable().
  struct Setup {
    u16 size = 0;
    u64 descriptors = 0, driver_area = 0, device_area = 0;
  };
  Setup& setup() { return setup_; }
  const Setup& setup() const { return setup_; }
  u16 vector() const { return vector_.load(std::memory_order_relaxed); }
  void set_vector(u16 vector) { vector_.store(vector, std::memory_order_relaxed); }
  /// Starts the queue; a setup that cannot work breaks it (ring_broken).
  void enable(const RingFeatures& features);
  bool is_enabled() const { return enabled_.load(std::memory_order_acquire); }
  /// Forgets everything. Elements still out stay valid and are swallowed by push().
  void reset();
  /// Elements popped before the last reset() and not yet given back.
  u32 strays() const { return strays_.load(std::memory_order_acquire); }

  /// Of a queue that somebody else serves, while it stands still: where that one goes on, and got to.
  struct Place {
    RingPosition avail, used;
    bool operator==(const Place&) const = default;
  };
  /// Nothing when the queue is not enabled, or broken.
  std::optional<Place> place();
  void set_place(const Place& place);

  // Data path. -----------------------------------------------------------------------------------------------------
  /// The next chain, or null: nothing there, stopped, or broken.
  VirtElementPtr pop();
  /// Gives it back with `written` bytes in its writable buffers. Spans into it were released before. The driver is not
  /// told: notify().
  void push(VirtElementPtr element, u32 written);
  struct Done {
    VirtElementPtr element;
    u32 written = 0;
  };
  /// Gives several back, which the driver sees used all at once; in the order of popping. Leaves `done` empty.
  void push_all(std::vector<Done>& done);
  /// Runs `work`, which touches the element's buffers, unless the queue was reset since it was popped; says whether it
  /// did. For requests that take longer than a call of the handler.
  template <typename Work>
  bool while_current(const VirtElement& element, Work&& work) {
    const std::lock_guard hold(mutex_);
    if (element.life_ != life_) return false;
    work();
    return true;
  }
  /// Gives back the one popped last, as if it had never been.
  void unpop(VirtElementPtr element);
  /// The device found the chain itself to be malformed: breaks the queue.
  void fail(VirtElementPtr element, const std::string& why);
  /// Interrupts the driver, if it wants to be for what was pushed.
  void notify();
  void push_and_notify(VirtElementPtr element, u32 written) {
    push(std::move(element), written);
    notify();
  }
  bool has_more();
  void want_notifications(bool wanted);
  enum class Asking {
    Always,
    /// For requests that take a while. As long as many are out and end one soon after the other, the driver is not asked
    /// to notify of more: they are found when the next one ends (look_again()), or at the next tick. A notification costs
    /// the guest a trap and the loop a wake-up, which is much of what a large request costs at all.
    WhenQuiet,
  };
  /// Handles all there is: `handle(VirtElementPtr)`, which says whether to go on. The driver need not notify meanwhile,
  /// but is asked to from then on.
  template <typename Handle>
  void process(Handle&& handle, Asking asking = Asking::Always) {
    process(handle, asking, [] {});
  }
  /// `all_taken` is called each time that nothing is left, before the driver is asked to notify.
  template <typename Handle, typename AllTaken>
  void process(Handle&& handle, Asking asking, AllTaken&& all_taken) {
    do {
      want_notifications(false);
      while (VirtElementPtr element = pop()) {
        if (!handle(std::move(element))) {
          want_notifications(true);
          return;
        }
      }
      all_taken();
      if (asking == Asking::WhenQuiet && leave_unasked()) return;
      want_notifications(true);
    } while (has_more());
  }
  /// About a millisecond has passed since wants_tick(): decides whether elements come back in quick succession.
  void tick();
  /// Elements that are out.
  u32 in_use();

  // Legacy interface and saved state.
  void fields(qom::Archive& ar);
  /// After fields() loaded them: checks and starts what was running.
  Result<void> after_load(const RingFeatures& features);

 private:
  /// Holds the lock; tells of a failure once it is free again.
  class Access {
   public:
    explicit Access(VirtQueue& queue) : queue_(queue), lock_(queue.mutex_) {}
    ~Access();
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;

   private:
    VirtQueue& queue_;
    std::unique_lock<std::mutex> lock_;
  };

  void start_locked(const RingFeatures& features);
  void break_locked(std::string why);
  void give_back_locked(VirtElementPtr element, u32 written);
  bool push_locked(VirtElement& element, u32 written);
  bool leave_unasked();
  bool begin_tick_locked();
  void recycle_locked(VirtElementPtr element);
  bool leave_locked(VirtElement& element);

  VirtQueueOwner& owner_;
  const unsigned index_;
  const u16 max_size_;
  Setup setup_;
  std::atomic<u16> vector_{virtio::kNoVector};
  std::atomic<bool> enabled_{false};
  std::atomic<u32> strays_{0};

  std::mutex mutex_;  ///< all below
  RingFeatures features_;
  std::unique_ptr<VirtRing> ring_;
  std::optional<std::string> failure_;  ///< not yet told
  u32 life_ = 0;
  u32 in_use_ = 0;
  u32 descriptors_out_ = 0;
  bool unsaid_ = false;  ///< something was pushed since the last notify()
  bool is_watched_ = false;  ///< processed with WhenQuiet; then:
  bool is_unasked_ = false;  ///< the driver is not asked to notify, and process() is over
  bool is_brisk_ = false;    ///< many elements came back between the last two ticks
  bool is_ticking_ = false;  ///< tick() is to come
  u32 ends_ = 0;             ///< elements given back since the last tick
  u32 next_sequence_ = 0;
  u32 oldest_sequence_ = 0;   ///< in-order: of the next to go into the used ring
  std::deque<Done> waiting_;  ///< in-order: done ahead of their turn, by sequence
  std::vector<VirtElementPtr> free_;
  // As loaded, until after_load().
  RingPosition loaded_avail_, loaded_used_;
  bool loaded_enabled_ = false;
};

std::unique_ptr<VirtRing> make_split_ring(mem::AddressSpace& space, const VirtQueue::Setup& setup,
                                          const RingFeatures& features);
std::unique_ptr<VirtRing> make_packed_ring(mem::AddressSpace& space, const VirtQueue::Setup& setup,
                                           const RingFeatures& features);

}  // namespace emu::hw
