// SPDX-License-Identifier: Apache-2.0
// Images of every kind against a plain array of bytes, under requests that overlap and end in any order.
#include <gtest/gtest.h>

#include "unit/block/qcow2/qcow2_bench.h"

namespace emu::block::qcow2 {
namespace {

struct Kind {
  const char* name;
  CreateOptions options;
  bool has_backing = false;
  bool has_data_file = false;
  u32 alignment = 1;
};

std::vector<Kind> kinds() {
  constexpr u64 kBytes = 3u << 20;
  std::vector<Kind> all = {
      {"Plain", {.bytes = kBytes, .cluster = 4096}},
      {"Version2", {.bytes = kBytes, .version = 2, .cluster = 4096}},
      {"Default", {.bytes = kBytes}},
      {"Backing", {.bytes = kBytes, .cluster = 4096, .backing_file = "below"}, true},
      {"Version2Backing", {.bytes = kBytes, .version = 2, .cluster = 4096, .backing_file = "below"}, true},
      {"Subclusters", {.bytes = kBytes, .cluster = 16384, .extended_l2 = true}},
      {"SubclustersBacking", {.bytes = kBytes, .cluster = 16384, .extended_l2 = true, .backing_file = "below"}, true},
      {"Lazy", {.bytes = kBytes, .cluster = 4096, .lazy_refcounts = true}},
      {"TinyClusters", {.bytes = 1u << 20, .cluster = 512, .refcount_bits = 64}},
      {"OneBit", {.bytes = kBytes, .cluster = 512, .refcount_bits = 1}},
      {"FourBits", {.bytes = kBytes, .cluster = 1024, .refcount_bits = 4}},
      {"EightBits", {.bytes = kBytes, .cluster = 4096, .refcount_bits = 8}},
      {"ThirtyTwoBits", {.bytes = kBytes, .cluster = 4096, .refcount_bits = 32}},
      {"DataFile", {.bytes = kBytes, .cluster = 4096, .data_file = "data"}, false, true},
      {"RawDataFile", {.bytes = kBytes, .cluster = 4096, .data_file = "data", .data_file_raw = true}, false, true},
      {"Preallocated", {.bytes = kBytes, .cluster = 4096, .preallocation = Preallocation::Metadata}},
      {"BigClusters", {.bytes = 8u << 20, .cluster = 2u << 20}},
      {"DirectIo", {.bytes = kBytes, .cluster = 65536}, false, false, 4096},
  };
  return all;
}

class Images : public testing::TestWithParam<int>, public Qcow2Bench {
 protected:
  void SetUp() override {
    kind_ = kinds()[std::size_t(GetParam())];
    model_.assign(kind_.options.bytes, 0);
    if (kind_.has_backing) {
      // Shorter than the image, and not whole clusters.
      auto below = pattern(kind_.options.bytes / 2 + 512 * 3, 9);
      std::copy(below.begin(), below.end(), model_.begin());
      below_ = memory(std::move(below), true);
    }
    if (kind_.has_data_file) data_ = memory();
    file_ = made(kind_.options, data_);
    file_->alignment = kind_.alignment;
  }
  ImageOptions options() {
    ImageOptions options;
    if (below_) options.backing = below_;
    options.data_file = data_;
    return options;
  }
  void expect_content(Image& image) {
    const std::vector<u8> content = read(image, 0, model_.size());
    for (std::size_t i = 0; i < model_.size(); ++i) {
      ASSERT_EQ(content[i], model_[i]) << "at " << i;
    }
  }

  Kind kind_;
  std::vector<u8> model_;
  std::shared_ptr<MemoryNode> file_, data_, below_;
};

TEST_P(Images, HoldWhatWasWritten) {
  std::mt19937_64 random(u64(GetParam()) + 100);
  for (int session = 0; session < 3; ++session) {
    auto image = open(file_, options());
    ASSERT_TRUE(image);
    expect_content(*image);
    const u64 unit = std::max<u32>(kind_.alignment, 512);
    for (int i = 0; i < 150; ++i) {
      const u64 offset = random() % (model_.size() / unit) * unit;
      const u64 bytes = std::min<u64>((1 + random() % (random() % 4 == 0 ? 200 : 12)) * unit, model_.size() - offset);
      switch (random() % 8) {
        case 0: {
          const auto flags = random() % 2 ? IoFlags::MayUnmap : IoFlags::None;
          ASSERT_EQ(run(image->write_zeroes(offset, bytes, flags)), 0);
          std::fill_n(model_.begin() + i64(offset), bytes, 0);
          break;
        }
        case 1: {
          ASSERT_EQ(run(image->discard(offset, bytes)), 0);
          // Anything may be there: what is there counts.
          const std::vector<u8> now = read(*image, offset, bytes);
          std::copy(now.begin(), now.end(), model_.begin() + i64(offset));
          break;
        }
        case 2: ASSERT_EQ(run(image->flush()), 0); break;
        default: {
          const auto data = pattern(bytes, u8(random()));
          ASSERT_EQ(write(*image, offset, data), 0);
          std::copy(data.begin(), data.end(), model_.begin() + i64(offset));
        }
      }
    }
    expect_content(*image);
    close(*image);
    expect_clean(file_);
    if (kind_.options.data_file_raw) {
      ASSERT_GE(data_->content().size(), model_.size());
      EXPECT_TRUE(std::equal(model_.begin(), model_.end(), data_->content().begin()));
    }
  }
}

TEST_P(Images, KeepRequestsApartThatRunTogether) {
  std::mt19937_64 random(u64(GetParam()) + 500);
  file_->is_slow = true;
  if (data_) data_->is_slow = true;
  if (below_) below_->is_slow = true;
  ImageOptions with = options();
  with.pass_discard = true;
  auto image = open(file_, with);
  ASSERT_TRUE(image);
  // Each task owns every eighth stripe: it alone knows what is there; clusters are shared by all.
  const u64 stripe = std::max<u32>(kind_.alignment, 512);
  const u64 stripes = std::min<u64>(model_.size() / stripe, 512);
  std::vector<std::vector<u8>> buffers;
  unsigned wrong = 0;
  const auto worker = [&](unsigned id, u64 seed) -> Task<void> {
    std::mt19937_64 own(seed);
    std::vector<u8> buffer(stripe);
    for (int i = 0; i < 40; ++i) {
      const u64 offset = (own() % (stripes / 8) * 8 + id) * stripe;
      const iovec part = {buffer.data(), buffer.size()};
      IoStatus status = co_await image->read(offset, {&part, 1});
      if (status != 0 || !std::equal(buffer.begin(), buffer.end(), model_.begin() + i64(offset))) ++wrong;
      const auto what = own() % 10;
      if (what == 0) {
        status = co_await image->write_zeroes(offset, stripe, IoFlags::MayUnmap);
        std::fill_n(model_.begin() + i64(offset), stripe, 0);
      } else if (what == 1) {
        status = co_await image->flush();
      } else {
        buffer = pattern(stripe, u8(own()));
        const iovec data = {buffer.data(), buffer.size()};
        status = co_await image->write(offset, {&data, 1}, what == 2 ? IoFlags::Fua : IoFlags::None);
        std::copy(buffer.begin(), buffer.end(), model_.begin() + i64(offset));
      }
      if (status != 0) ++wrong;
    }
  };
  {
    TaskOwner tasks(loop);
    for (unsigned id = 0; id < 8; ++id) tasks.start(worker(id, random()));
    tasks.drain();
  }
  EXPECT_EQ(wrong, 0u);
  expect_content(*image);
  close(*image);
  expect_clean(file_);
  auto again = open(file_, options());
  ASSERT_TRUE(again);
  expect_content(*again);
}

INSTANTIATE_TEST_SUITE_P(All, Images, testing::Range(0, int(kinds().size())),
                         [](const auto& instance) { return kinds()[std::size_t(instance.param)].name; });

/// As qemu-img leaves a new image: the file ends with the entries of the L1 table.
TEST(ImageFile, EndsInsideABlockOfDirectIo) {
  Qcow2Bench bench;
  CreateOptions options;
  options.bytes = 1 << 30;
  auto file = bench.made(options);
  std::vector<u8> content = file->content();
  const u64 l1_offset = load_be64(content.data() + 40);
  const u32 l1_entries = load_be32(content.data() + 36);
  content.resize(l1_offset + 8 * l1_entries);
  for (const u32 alignment : {512u, 4096u}) {
    auto shorter = bench.memory(content);
    shorter->alignment = alignment;
    auto image = bench.open(shorter);
    ASSERT_NE(image, nullptr);
    EXPECT_EQ(bench.read(*image, 0, 4096), std::vector<u8>(4096));
    EXPECT_EQ(bench.write(*image, 8192, std::vector<u8>(4096, 7)), 0);
    EXPECT_EQ(bench.read(*image, 8192, 4096), std::vector<u8>(4096, 7));
    bench.close(*image);
    bench.expect_clean(shorter);
  }
}

}  // namespace
}  // namespace emu::block::qcow2
