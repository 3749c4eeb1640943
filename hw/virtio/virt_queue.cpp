// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virt_queue.h"

namespace emu::hw {

using namespace virtio;

namespace {

/// What is wrong with a setup; null when nothing is.
const char* check_setup(const VirtQueue::Setup& setup, u16 max_size, const RingFeatures& features) {
  if (setup.size == 0 || setup.size > max_size) return "size out of range";
  if (!features.packed && !std::has_single_bit(setup.size)) return "size is no power of two";
  // 2.7, 2.8: alignment of the three parts.
  if (!is_aligned(setup.descriptors, 16)) return "descriptors not aligned to 16 bytes";
  const u64 area_alignment = features.packed ? 4 : 2;
  if (!is_aligned(setup.driver_area, area_alignment)) return "driver area not aligned";
  if (!is_aligned(setup.device_area, 4)) return "device area not aligned to 4 bytes";
  constexpr u64 kMostBytes = 6 + 16 * u64(kMaxQueueSize);
  for (const u64 address : {setup.descriptors, setup.driver_area, setup.device_area}) {
    if (address > ~u64(0) - kMostBytes) return "an area wraps around";
  }
  return nullptr;
}

}  // namespace

VirtQueue::VirtQueue(VirtQueueOwner& owner, unsigned index, u16 max_size)
    : owner_(owner), index_(index), max_size_(max_size) {
  EMU_CHECK(max_size > 0 && max_size <= kMaxQueueSize && std::has_single_bit(max_size));
  setup_.size = max_size;
}

VirtQueue::~VirtQueue() = default;

// Control. -----------------------------------------------------------------------------------------------------------

void VirtQueue::enable(const RingFeatures& features) {
  const Access access(*this);
  if (enabled_) return;
  start_locked(features);
}

void VirtQueue::start_locked(const RingFeatures& features) {
  features_ = features;
  enabled_.store(true, std::memory_order_release);
  if (const char* wrong = check_setup(setup_, max_size_, features)) return break_locked(wrong);
  ring_ = features.packed ? make_packed_ring(owner_.queue_memory(), setup_, features)
                          : make_split_ring(owner_.queue_memory(), setup_, features);
}

void VirtQueue::reset() {
  const std::lock_guard hold(mutex_);
  enabled_.store(false, std::memory_order_release);
  ring_.reset();
  ++life_;
  // Those that wait for their turn are ours; the others will come back.
  const auto is_ours = [](const Done& done) { return done.element != nullptr; };
  const u32 waiting = u32(std::count_if(waiting_.begin(), waiting_.end(), is_ours));
  strays_.fetch_add(in_use_ - waiting, std::memory_order_acq_rel);
  waiting_.clear();
  in_use_ = descriptors_out_ = 0;
  unsaid_ = is_watched_ = is_unasked_ = is_brisk_ = is_ticking_ = false;
  ends_ = 0;
  next_sequence_ = oldest_sequence_ = 0;
  setup_ = {.size = max_size_};
  set_vector(kNoVector);
}

std::optional<VirtQueue::Place> VirtQueue::place() {
  const std::lock_guard hold(mutex_);
  if (ring_ == nullptr) return std::nullopt;
  return Place{ring_->avail, ring_->used};
}

void VirtQueue::set_place(const Place& place) {
  const std::lock_guard hold(mutex_);
  EMU_CHECK(in_use_ == 0);
  if (ring_ == nullptr) return;
  ring_->avail = place.avail;
  ring_->used = place.used;
}

void VirtQueue::break_locked(std::string why) {
  ring_.reset();
  failure_ = std::move(why);
}

VirtQueue::Access::~Access() {
  if (!queue_.failure_) return;
  const std::string why = *std::exchange(queue_.failure_, std::nullopt);
  lock_.unlock();  // the device tells the driver, by writing wherever the driver wants that to be
  queue_.owner_.ring_broken(queue_, why);
}

// Data path. ---------------------------------------------------------------------------------------------------------

VirtElementPtr VirtQueue::pop() {
  const Access access(*this);
  if (ring_ == nullptr) return nullptr;
  if (in_use_ >= setup_.size && ring_->has_more()) {
    break_locked("more chains are out than the queue has entries");
    return nullptr;
  }
  VirtElementPtr element;
  if (free_.empty()) {
    element = std::make_unique<VirtElement>();
  } else {
    element = std::move(free_.back());
    free_.pop_back();
  }
  element->clear(owner_.queue_memory());
  std::string error;
  const int found = ring_->pop(*element, error);
  if (found <= 0) {
    recycle_locked(std::move(element));
    if (found < 0) break_locked(error);
    return nullptr;
  }
  element->sequence_ = next_sequence_++;
  element->life_ = life_;
  ++in_use_;
  descriptors_out_ += element->descriptors_;
  return element;
}

/// False when it is of an earlier life.
bool VirtQueue::leave_locked(VirtElement& element) {
  if (element.life_ == life_) return true;
  strays_.fetch_sub(1, std::memory_order_acq_rel);
  return false;
}

void VirtQueue::push(VirtElementPtr element, u32 written) {
  const Access access(*this);
  give_back_locked(std::move(element), written);
}

void VirtQueue::push_all(std::vector<Done>& done) {
  const Access access(*this);
  if (ring_ != nullptr) ring_->hide_pushed();
  for (Done& one : done) give_back_locked(std::move(one.element), one.written);
  done.clear();
  if (ring_ != nullptr && !ring_->show_pushed()) break_locked("the used ring is not in RAM");
}

void VirtQueue::give_back_locked(VirtElementPtr element, u32 written) {
  if (!leave_locked(*element)) return recycle_locked(std::move(element));
  if (!features_.in_order) {
    push_locked(*element, written);
    return recycle_locked(std::move(element));
  }
  // 2.6.9: in the order in which they were made available. Each entry of the used ring stands for one chain.
  const u32 place = element->sequence_ - oldest_sequence_;
  if (place >= waiting_.size()) waiting_.resize(place + 1);
  waiting_[place] = {std::move(element), written};
  while (!waiting_.empty() && waiting_.front().element != nullptr) {
    Done done = std::move(waiting_.front());
    waiting_.pop_front();
    ++oldest_sequence_;
    push_locked(*done.element, done.written);
    recycle_locked(std::move(done.element));
  }
}

bool VirtQueue::push_locked(VirtElement& element, u32 written) {
  --in_use_;
  descriptors_out_ -= element.descriptors_;
  if (ring_ == nullptr) return false;
  unsaid_ = true;
  ++ends_;
  if (ring_->push(element, written)) return true;
  break_locked("the used ring is not in RAM");
  return false;
}

void VirtQueue::unpop(VirtElementPtr element) {
  const std::lock_guard hold(mutex_);
  if (leave_locked(*element)) {
    EMU_CHECK(element->sequence_ + 1 == next_sequence_);
    --next_sequence_;
    --in_use_;
    descriptors_out_ -= element->descriptors_;
    if (ring_ != nullptr) ring_->rewind(element->descriptors_);
  }
  recycle_locked(std::move(element));
}

void VirtQueue::fail(VirtElementPtr element, const std::string& why) {
  const Access access(*this);
  if (leave_locked(*element)) {
    --in_use_;
    descriptors_out_ -= element->descriptors_;
    break_locked(why);
  }
  recycle_locked(std::move(element));
}

void VirtQueue::recycle_locked(VirtElementPtr element) {
  constexpr size_t kKept = 128;
  if (free_.size() < kKept) free_.push_back(std::move(element));
}

void VirtQueue::notify() {
  bool wanted = false, looks = false, ticks = false;
  {
    const std::lock_guard hold(mutex_);
    if (ring_ == nullptr || !std::exchange(unsaid_, false)) return;
    wanted = ring_->should_interrupt();
    // 6.3: a legacy driver may ask to hear of an empty queue whatever else it said.
    if (!wanted && features_.notify_on_empty) wanted = in_use_ == 0 && !ring_->has_more();
    if (is_watched_) {
      looks = is_unasked_;
      ticks = begin_tick_locked();
    }
  }
  if (wanted) owner_.queue_interrupt(*this);
  if (ticks) owner_.wants_tick(*this);
  if (looks) owner_.look_again(*this);
}

namespace {

/// With fewer under way the next ones are wanted at once, lest there be nothing to do for the disk.
constexpr u32 kManyOut = 4;
/// In a millisecond or two.
constexpr u32 kBriskEnds = 4;

}  // namespace

bool VirtQueue::begin_tick_locked() { return in_use_ >= kManyOut && !std::exchange(is_ticking_, true); }

/// Whether the driver need not be asked now: what is out will end soon, and until then there is a tick.
bool VirtQueue::leave_unasked() {
  bool ticks = false;
  {
    const std::lock_guard hold(mutex_);
    if (ring_ == nullptr) return false;
    is_watched_ = true;
    if (!is_brisk_ || in_use_ < kManyOut) return false;
    is_unasked_ = true;
    ticks = begin_tick_locked();
  }
  if (ticks) owner_.wants_tick(*this);
  return true;
}

void VirtQueue::tick() {
  const std::lock_guard hold(mutex_);
  is_ticking_ = false;
  is_brisk_ = std::exchange(ends_, 0) >= kBriskEnds;
}

bool VirtQueue::has_more() {
  const std::lock_guard hold(mutex_);
  return ring_ != nullptr && ring_->has_more();
}

void VirtQueue::want_notifications(bool wanted) {
  const std::lock_guard hold(mutex_);
  is_unasked_ = false;
  if (ring_ != nullptr) ring_->want_notifications(wanted);
}

u32 VirtQueue::in_use() {
  const std::lock_guard hold(mutex_);
  return in_use_;
}

// Saved state. -------------------------------------------------------------------------------------------------------

void VirtQueue::fields(qom::Archive& ar) {
  const std::lock_guard hold(mutex_);
  u16 vector = this->vector();
  RingPosition avail = loaded_avail_, used = loaded_used_;
  bool enabled = enabled_;
  if (!ar.is_loading() && ring_ != nullptr) {
    // What is still out was popped last (the device is drained): it is popped again after loading.
    avail = ring_->avail;
    ring_->rewind(descriptors_out_);
    std::swap(avail, ring_->avail);
    used = ring_->used;
  }
  ar("size", setup_.size)("desc", setup_.descriptors)("driver", setup_.driver_area)("device", setup_.device_area);
  ar("vector", vector)("enabled", enabled);
  ar("avail_index", avail.index)("avail_wrap", avail.wrap)("used_index", used.index)("used_wrap", used.wrap);
  if (ar.is_loading()) {
    set_vector(vector);
    loaded_enabled_ = enabled;
    loaded_avail_ = avail;
    loaded_used_ = used;
  }
}

Result<void> VirtQueue::after_load(const RingFeatures& features) {
  const Access access(*this);
  if (setup_.size > max_size_) return error("queue {}: saved size {} is above {}", index_, setup_.size, max_size_);
  ring_.reset();
  enabled_ = false;
  if (!loaded_enabled_) return {};
  if (check_setup(setup_, max_size_, features) != nullptr) {
    enabled_ = true;  // it was broken when it was saved
    return {};
  }
  const RingPosition avail = loaded_avail_, used = loaded_used_;
  if (features.packed && (avail.index >= setup_.size || used.index >= setup_.size)) {
    return error("queue {}: saved position is outside the ring", index_);
  }
  if (!features.packed && u16(avail.index - used.index) > setup_.size) {
    return error("queue {}: saved positions are further apart than the ring is long", index_);
  }
  start_locked(features);
  if (ring_ != nullptr) {
    ring_->avail = avail;
    ring_->used = used;
  }
  return {};
}

}  // namespace emu::hw
