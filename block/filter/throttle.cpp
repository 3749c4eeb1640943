// SPDX-License-Identifier: Apache-2.0
#include "block/filter/throttle.h"

#include <algorithm>
#include <cmath>

#include "block/timers.h"

namespace emu::block {
namespace {

constexpr const char* kNames[kThrottledCount] = {"bps-total",  "bps-read",  "bps-write",
                                                 "iops-total", "iops-read", "iops-write"};
/// Without a burst, this much of a second may be done at once.
constexpr double kSlack_s = 0.1;
constexpr u64 kMost = 1'000'000'000'000'000;

bool counts(Throttled what, bool is_write) {
  switch (what) {
    case Throttled::BpsRead:
    case Throttled::IopsRead: return !is_write;
    case Throttled::BpsWrite:
    case Throttled::IopsWrite: return is_write;
    default: return true;
  }
}
bool counts_bytes(Throttled what) { return what <= Throttled::BpsWrite; }

}  // namespace

const char* throttled_name(Throttled what) { return kNames[unsigned(what)]; }

bool ThrottleConfig::is_limited() const {
  return std::ranges::any_of(limits, [](const ThrottleLimit& limit) { return limit.average != 0; });
}

Result<void> ThrottleConfig::check() const {
  for (const char* unit : {"bps", "iops"}) {
    const unsigned first = unit[0] == 'b' ? 0 : 3;
    const auto is_set = [&](unsigned i, auto member) { return limits[first + i].*member != 0; };
    if ((is_set(0, &ThrottleLimit::average) &&
         (is_set(1, &ThrottleLimit::average) || is_set(2, &ThrottleLimit::average))) ||
        (is_set(0, &ThrottleLimit::most) && (is_set(1, &ThrottleLimit::most) || is_set(2, &ThrottleLimit::most)))) {
      return error("bps/iops/max total values and read/write values cannot be used at the same time");
    }
  }
  for (unsigned i = 0; i < kThrottledCount; i++) {
    const ThrottleLimit& limit = limits[i];
    if (limit.average > kMost || limit.most > kMost) {
      return error("bps/iops/max values must be within [0, {}]", kMost);
    }
    if (limit.length_s == 0) return error("the burst length of {} cannot be 0", kNames[i]);
    if (limit.length_s > 1 && limit.most == 0) {
      return error("burst length set without burst rate: {}-max-length needs {}-max", kNames[i], kNames[i]);
    }
    if (limit.most != 0 && limit.average == 0) {
      return error("bps_max/iops_max require corresponding bps/iops values: {}-max needs {}", kNames[i], kNames[i]);
    }
    if (limit.most != 0 && limit.most < limit.average) {
      return error("bps_max/iops_max cannot be lower than bps/iops: {}-max is", kNames[i]);
    }
    if (limit.length_s > kMost / std::max<u64>(limit.most, 1)) {
      return error("burst length too high for this burst rate");
    }
  }
  if (iops_size != 0 && limits[3].average == 0 && limits[4].average == 0 && limits[5].average == 0) {
    return error("iops size requires an iops value to be set");
  }
  return {};
}

Result<ThrottleConfig> take_throttle_config(Options& options, const std::string& prefix) {
  ThrottleConfig config;
  for (unsigned i = 0; i < kThrottledCount; i++) {
    const std::string name = prefix + kNames[i];
    config.limits[i].average = EMU_TRY(options.take_u64_or(name, 0));
    config.limits[i].most = EMU_TRY(options.take_u64_or(name + "-max", 0));
    config.limits[i].length_s = EMU_TRY(options.take_u64_or(name + "-max-length", 1));
  }
  config.iops_size = EMU_TRY(options.take_u64_or(prefix + "iops-size", 0));
  EMU_TRY(config.check());
  return config;
}

ThrottleConfig ThrottleGroup::config() const {
  const std::lock_guard lock(mutex_);
  return config_;
}

void ThrottleGroup::set_config(const ThrottleConfig& config) {
  const std::lock_guard lock(mutex_);
  config_ = config;
  buckets_ = {};
  limited_.store(config.is_limited());
  generation_.fetch_add(1);
}

double ThrottleGroup::wait_s(const ThrottleLimit& limit, const Bucket& bucket) {
  const double average = double(limit.average);
  const double room = limit.most != 0 ? double(limit.most) * double(limit.length_s) : average * kSlack_s;
  double wait = std::max(0.0, (bucket.level - room) / average);
  if (limit.most != 0 && limit.length_s > 1) {
    const double most = double(limit.most);
    wait = std::max(wait, (bucket.burst - most * kSlack_s) / most);
  }
  return wait;
}

ClockNs ThrottleGroup::account(bool is_write, u64 bytes, ClockNs now) {
  const std::lock_guard lock(mutex_);
  const double passed = std::max(0.0, double((now - last_).count()) / 1e9);
  last_ = std::max(last_, now);
  const double operations =
      config_.iops_size == 0 ? 1 : std::max(1.0, std::ceil(double(bytes) / double(config_.iops_size)));
  double wait = 0;
  for (unsigned i = 0; i < kThrottledCount; i++) {
    const ThrottleLimit& limit = config_.limits[i];
    Bucket& bucket = buckets_[i];
    if (limit.average == 0) continue;
    bucket.level = std::max(0.0, bucket.level - double(limit.average) * passed);
    bucket.burst = std::max(0.0, bucket.burst - double(limit.most) * passed);
    if (!counts(Throttled(i), is_write)) continue;
    wait = std::max(wait, wait_s(limit, bucket));
    // Counted at once: who comes later waits for this one, too, and so all go in their order.
    const double units = counts_bytes(Throttled(i)) ? double(bytes) : operations;
    bucket.level += units;
    bucket.burst += units;
  }
  return ClockNs(i64(std::min(wait, 1e9) * 1e9));
}

Task<void> throttle(ThrottleGroup& group, EventLoop& loop, bool is_write, u64 bytes, const std::atomic<bool>* bypass) {
  constexpr ClockNs kSlice = std::chrono::milliseconds(50);  // how late a drain or new limits are noticed
  const u64 generation = group.generation();
  const ClockNs begin = Clock::monotonic_now();
  const ClockNs end = begin + group.account(is_write, bytes, begin);
  for (;;) {
    const ClockNs left = end - Clock::monotonic_now();
    if (left.count() <= 0 || group.generation() != generation) co_return;
    if (bypass != nullptr && bypass->load(std::memory_order_relaxed)) co_return;
    co_await delay(loop, u64(std::min(left, kSlice).count()));
  }
}

// ---- -object throttle-group

const ThrottleGroupObject::Members ThrottleGroupObject::kMembers[kThrottledCount] = {
    {&ThrottleGroupObject::bps_total_, &ThrottleGroupObject::bps_total_max_, &ThrottleGroupObject::bps_total_length_},
    {&ThrottleGroupObject::bps_read_, &ThrottleGroupObject::bps_read_max_, &ThrottleGroupObject::bps_read_length_},
    {&ThrottleGroupObject::bps_write_, &ThrottleGroupObject::bps_write_max_, &ThrottleGroupObject::bps_write_length_},
    {&ThrottleGroupObject::iops_total_, &ThrottleGroupObject::iops_total_max_,
     &ThrottleGroupObject::iops_total_length_},
    {&ThrottleGroupObject::iops_read_, &ThrottleGroupObject::iops_read_max_, &ThrottleGroupObject::iops_read_length_},
    {&ThrottleGroupObject::iops_write_, &ThrottleGroupObject::iops_write_max_,
     &ThrottleGroupObject::iops_write_length_},
};

void ThrottleGroupObject::describe(qom::TypeInfo<ThrottleGroupObject>& type) {
  type.doc("limits on requests and bytes a second that drives share");
  for (unsigned i = 0; i < kThrottledCount; i++) {
    const std::string name = std::string("x-") + kNames[i];
    const std::string what = counts_bytes(Throttled(i)) ? "bytes" : "requests";
    type.property(name, kMembers[i].average, what + " a second");
    type.property(name + "-max", kMembers[i].most, what + " a second in a burst");
    type.property(name + "-max-length", kMembers[i].length_s, "seconds that a burst may last");
  }
  type.property("x-iops-size", &ThrottleGroupObject::iops_size_, "bytes above which a request counts more than once");
}

Result<void> ThrottleGroupObject::complete() {
  ThrottleConfig config;
  for (unsigned i = 0; i < kThrottledCount; i++) {
    config.limits[i] = {this->*kMembers[i].average, this->*kMembers[i].most, this->*kMembers[i].length_s};
  }
  config.iops_size = iops_size_;
  EMU_TRY(config.check());
  group_->set_config(config);
  return {};
}

void register_block_objects(qom::TypeRegistry& registry) { registry.add<ThrottleGroupObject>("throttle-group"); }

}  // namespace emu::block
