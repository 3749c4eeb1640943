// SPDX-License-Identifier: Apache-2.0
// The power goes: at every point of a long trace, and with what was not flushed reaching the disk in any order or not at
// all. The image then checks clean but for leaks, and holds what was flushed.
#include <gtest/gtest.h>

#include <map>

#include "unit/block/qcow2/qcow2_bench.h"

namespace emu::block::qcow2 {
namespace {

constexpr u64 kUnit = 512;

/// What a sector may hold: versions in the order they were written, each with the events between which it was written.
struct Version {
  u32 stamp;             ///< in every word of the sector; 0 reads as zeroes
  std::size_t begun;     ///< number of events when the request began
  std::size_t ended;     ///< and when it was done
};

struct Scenario {
  const char* name;
  CreateOptions options;
  int requests;
  bool has_backing = false;
};

std::vector<Scenario> scenarios() {
  return {
      {"Plain", {.bytes = 512u << 10, .cluster = 4096}, 2000},
      {"Backing", {.bytes = 512u << 10, .cluster = 4096, .backing_file = "below"}, 600, true},
      {"Lazy", {.bytes = 256u << 10, .cluster = 4096, .lazy_refcounts = true}, 400},
      {"Subclusters", {.bytes = 1u << 20, .cluster = 16384, .extended_l2 = true, .backing_file = "below"}, 500, true},
      {"GrowingTables", {.bytes = 512u << 10, .cluster = 512, .refcount_bits = 64}, 700},
  };
}

class PowerCut : public testing::TestWithParam<int>, public Qcow2Bench {
 protected:
  void SetUp() override {
    scenario_ = scenarios()[std::size_t(GetParam())];
    sectors_ = scenario_.options.bytes / kUnit;
    history_.resize(sectors_);
    for (u64 i = 0; i < sectors_; ++i) history_[i].push_back({scenario_.has_backing ? u32(i + 1) : 0, 0, 0});
    if (scenario_.has_backing) {
      std::vector<u8> below(scenario_.options.bytes);
      for (u64 i = 0; i < sectors_; ++i) fill(below.data() + i * kUnit, u32(i + 1));
      below_ = memory(std::move(below), true);
    }
    file_ = made(scenario_.options);
    initial_ = file_->content();
    file_->records = true;
    file_->is_slow = true;
  }
  static void fill(u8* sector, u32 stamp) {
    for (u64 i = 0; i < kUnit; i += 4) std::memcpy(sector + i, &stamp, 4);
  }
  ImageOptions options() {
    ImageOptions options;
    if (below_) options.backing = below_;
    options.pass_discard = true;
    return options;
  }

  /// Four writers, each with sectors of its own in clusters that all share.
  Task<void> work(Image& image, unsigned id, int requests) {
    std::mt19937_64 random(id * 77 + 5);
    u32 stamp = 1000000 * (id + 1);
    for (int i = 0; i < requests; ++i) {
      const u64 count = 1 + random() % 16;
      const u64 first = random() % (sectors_ / 64) * 64 + id * 16;
      const u64 n = std::min<u64>(count, 16);
      const auto what = random() % 16;
      const std::size_t begun = file_->events.size();
      if (what == 0) {
        const IoStatus status = co_await image.flush();
        EXPECT_EQ(status, 0);
        flushes_.push_back({begun, file_->events.size()});
        continue;
      }
      u32 wrote = 0;
      IoStatus status;
      for (u64 s = 0; s < n; ++s) history_[first + s].push_back({0, begun, SIZE_MAX});
      if (what <= 2) {
        status = co_await image.write_zeroes(first * kUnit, n * kUnit, what == 1 ? IoFlags::MayUnmap : IoFlags::None);
      } else {
        wrote = ++stamp;
        std::vector<u8> data(n * kUnit);
        for (u64 s = 0; s < n; ++s) fill(data.data() + s * kUnit, wrote);
        for (u64 s = 0; s < n; ++s) history_[first + s].back().stamp = wrote;
        const iovec part = {data.data(), data.size()};
        status = co_await image.write(first * kUnit, {&part, 1}, IoFlags::None);
      }
      EXPECT_EQ(status, 0);
      for (u64 s = 0; s < n; ++s) history_[first + s].back().ended = file_->events.size();
    }
  }
  void record() {
    auto image = open(file_, options());
    ASSERT_TRUE(image);
    {
      TaskOwner tasks(loop);
      for (unsigned id = 0; id < 4; ++id) tasks.start(work(*image, id, scenario_.requests / 4));
      tasks.drain();
    }
    close(*image);
    file_->records = false;
    std::sort(flushes_.begin(), flushes_.end(), [](const auto& a, const auto& b) { return a.ended < b.ended; });
  }

  static void apply(std::vector<u8>& disk, const DiskEvent& event) {
    if (event.kind == DiskEvent::Kind::Truncate) disk.resize(event.offset);
    if (event.kind != DiskEvent::Kind::Write) return;
    if (disk.size() < event.offset + event.data.size()) disk.resize(event.offset + event.data.size());
    std::memcpy(disk.data() + event.offset, event.data.data(), event.data.size());
  }

  /// `events` had happened when the power went.
  bool holds(std::vector<u8> disk, std::size_t events, const std::string& what) {
    auto file = memory(std::move(disk));
    auto image = open(file, options());
    if (!image) return false;
    const std::vector<u8> content = read(*image, 0, sectors_ * kUnit);
    std::size_t flushed = 0;  // requests done before this event are safe
    for (const auto& flush : flushes_) {
      if (flush.ended <= events) flushed = std::max(flushed, flush.begun);
    }
    for (u64 s = 0; s < sectors_; ++s) {
      const auto& versions = history_[s];
      std::size_t oldest = 0;
      for (std::size_t v = 0; v < versions.size(); ++v) {
        if (versions[v].ended <= flushed) oldest = v;
      }
      bool found = false;
      std::vector<u8> wanted(kUnit);
      for (std::size_t v = oldest; v < versions.size() && versions[v].begun <= events; ++v) {
        fill(wanted.data(), versions[v].stamp);
        if (std::memcmp(wanted.data(), content.data() + s * kUnit, kUnit) == 0) found = true;
      }
      if (!found) {
        u32 there;
        std::memcpy(&there, content.data() + s * kUnit, 4);
        ADD_FAILURE() << what << ": sector " << s << " holds " << there << ", flushed was "
                      << versions[oldest].stamp;
        return false;
      }
    }
    // The first write repairs an image that says it has to be.
    if (write(*image, 0, {content.begin(), content.begin() + kUnit}) != 0) return false;
    close(*image);
    std::string lines;
    const CheckReport report = checked(file, Repair::None, &lines);
    if (report.errors != 0 || report.failures != 0) {
      ADD_FAILURE() << what << ": " << lines;
      return false;
    }
    return true;
  }
  /// Without opening for writing: what a checker sees first.
  bool checks_clean(const std::vector<u8>& disk, const std::string& what) {
    auto file = memory(disk);
    ImageOptions look;
    look.read_only = look.for_check = look.without_children = true;
    auto image = try_open(file, look);
    if (!image) {
      ADD_FAILURE() << what << ": " << image.error().text();
      return false;
    }
    if ((*image)->header().has(kDirty)) return true;  // says itself that it has to be repaired
    std::string lines;
    const CheckReport report = checked(file, Repair::None, &lines);
    if (report.errors == 0 && report.failures == 0) return true;
    ADD_FAILURE() << what << ": " << lines;
    return false;
  }

  struct Flush {
    std::size_t begun, ended;
  };
  Scenario scenario_;
  u64 sectors_ = 0;
  std::vector<u8> initial_;
  std::vector<std::vector<Version>> history_;
  std::vector<Flush> flushes_;
  std::shared_ptr<MemoryNode> file_, below_;
};

TEST_P(PowerCut, EveryPrefixIsAnImageThatHoldsWhatWasFlushed) {
  record();
  const auto& events = file_->events;
  std::vector<u8> disk = initial_;
  for (std::size_t i = 0; i <= events.size(); ++i) {
    const std::string what = "after event " + std::to_string(i) + " of " + std::to_string(events.size());
    const bool near_metadata = i == 0 || events[i - 1].kind != DiskEvent::Kind::Flush;
    if (near_metadata) {
      ASSERT_TRUE(checks_clean(disk, what));
      ASSERT_TRUE(holds(disk, i, what));
    }
    if (i < events.size()) apply(disk, events[i]);
  }
}

TEST_P(PowerCut, ReorderedWritesLeaveAnImageThatHoldsWhatWasFlushed) {
  record();
  const auto& events = file_->events;
  std::mt19937_64 random(42);
  const int rounds = GetParam() == 0 ? 1000 : 300;
  std::vector<std::size_t> cuts;
  for (int i = 0; i < rounds; ++i) cuts.push_back(random() % (events.size() + 1));
  std::sort(cuts.begin(), cuts.end());
  std::vector<u8> safe = initial_;  // everything before the last flush that is done
  std::size_t applied = 0;
  for (const std::size_t cut : cuts) {
    std::size_t barrier = 0;
    for (std::size_t i = 0; i < cut; ++i) {
      if (events[i].kind == DiskEvent::Kind::Flush) barrier = std::max<std::size_t>(barrier, events[i].offset);
    }
    for (; applied < barrier; ++applied) apply(safe, events[applied]);
    std::vector<u8> disk = safe;
    std::vector<std::size_t> loose;
    for (std::size_t i = barrier; i < cut; ++i) {
      if (events[i].kind != DiskEvent::Kind::Flush) loose.push_back(i);
    }
    std::shuffle(loose.begin(), loose.end(), random);
    loose.resize(loose.empty() ? 0 : random() % (loose.size() + 1));
    // Writes to the same bytes keep their order on any disk worth the name: sort those that overlap.
    for (std::size_t a = 0; a < loose.size(); ++a) {
      for (std::size_t b = a + 1; b < loose.size(); ++b) {
        const auto& first = events[loose[a]];
        const auto& second = events[loose[b]];
        const bool overlap = first.kind == DiskEvent::Kind::Write && second.kind == DiskEvent::Kind::Write &&
                             first.offset < second.offset + second.data.size() &&
                             second.offset < first.offset + first.data.size();
        if (overlap && loose[a] > loose[b]) std::swap(loose[a], loose[b]);
      }
    }
    for (const std::size_t i : loose) {
      if (events[i].kind == DiskEvent::Kind::Truncate && events[i].offset < disk.size()) continue;
      apply(disk, events[i]);
    }
    const std::string what = "cut at " + std::to_string(cut) + " with " + std::to_string(loose.size()) + " of " +
                             std::to_string(cut - barrier);
    ASSERT_TRUE(checks_clean(disk, what));
    ASSERT_TRUE(holds(disk, cut, what));
  }
}

INSTANTIATE_TEST_SUITE_P(All, PowerCut, testing::Range(0, int(scenarios().size())),
                         [](const auto& instance) { return scenarios()[std::size_t(instance.param)].name; });

}  // namespace
}  // namespace emu::block::qcow2
