// SPDX-License-Identifier: Apache-2.0
// Images that somebody broke, by accident or not: refused with a sentence, or their requests fail; nothing else.
#include <gtest/gtest.h>

#include <cstdlib>

#include "unit/block/qcow2/qcow2_bench.h"

namespace emu::block::qcow2 {
namespace {

class Hostile : public testing::Test, public Qcow2Bench {
 protected:
  std::vector<u8> good(CreateOptions options = {.bytes = 1u << 20}) { return made(options)->content(); }
  std::string refusal(std::vector<u8> content) { return open_error(memory(std::move(content))); }
  std::string refusal_of(u64 offset, u64 value, unsigned bytes, CreateOptions options = {.bytes = 1u << 20}) {
    std::vector<u8> content = good(options);
    for (unsigned i = 0; i < bytes; ++i) content[offset + i] = u8(value >> (8 * (bytes - 1 - i)));
    return refusal(std::move(content));
  }
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(Hostile, HeaderFieldsAreChecked) {
  EXPECT_HAS(refusal({}), "not in qcow2 format");
  EXPECT_HAS(refusal({'Q', 'F', 'I', 0xfb}), "cut off");
  EXPECT_HAS(refusal_of(0, 0, 1), "not in qcow2 format");
  EXPECT_HAS(refusal_of(4, 1, 4), "version 1");
  EXPECT_HAS(refusal_of(20, 8, 4), "cluster size");
  EXPECT_HAS(refusal_of(20, 22, 4), "cluster size");
  EXPECT_HAS(refusal_of(24, u64(1) << 62, 8), "too large");
  EXPECT_HAS(refusal_of(24, u64(1) << 40, 8), "L1 table is too small");
  EXPECT_HAS(refusal_of(32, 1, 4), "encrypted (AES)");
  EXPECT_HAS(refusal_of(32, 2, 4), "encrypted (LUKS)");
  EXPECT_HAS(refusal_of(36, 0xffffffff, 4), "L1 table too large");
  EXPECT_HAS(refusal_of(40, 0x30001, 8), "not aligned");
  EXPECT_HAS(refusal_of(40, 0, 8), "invalid");
  EXPECT_HAS(refusal_of(40, 0xffffffffffff0000, 8), "invalid");
  EXPECT_HAS(refusal_of(40, 0x10000, 8), "overlap");
  EXPECT_HAS(refusal_of(48, 0x40000000, 8), "beyond the end");
  EXPECT_HAS(refusal_of(48, 3, 8), "not aligned");
  EXPECT_HAS(refusal_of(56, 0, 4), "reference count table");
  EXPECT_HAS(refusal_of(56, 0x10000, 4), "too large");
  EXPECT_HAS(refusal_of(60, 0x10000000, 4), "snapshot table too large");
  EXPECT_HAS(refusal_of(72, u64(1) << 63, 8), "unsupported qcow2 features: bit 63");
  EXPECT_HAS(refusal_of(72, 8, 8), "compression type");
  EXPECT_HAS(refusal_of(88, 1, 8), "bitmaps");
  EXPECT_HAS(refusal_of(88, 2, 8), "raw external");
  EXPECT_HAS(refusal_of(96, 7, 4), "refcount width");
  EXPECT_HAS(refusal_of(100, 96, 4), "too short");
  EXPECT_HAS(refusal_of(100, 0x20000, 4), "exceeds cluster size");
  EXPECT_HAS(refusal_of(100, 113, 4), "multiple of 8");
  EXPECT_HAS(refusal_of(104, 9, 1), "compression type");
  EXPECT_HAS(refusal_of(72, 16, 8, {.bytes = 1u << 20, .cluster = 4096}), "at least 16 KiB");
  EXPECT_HAS(refusal_of(8, 0xfffff, 8), "outside of the first cluster");
  EXPECT_HAS(refusal_of(112 + 4, 0x10000, 4), "too large");
}

TEST_F(Hostile, ACorruptImageOpensOnlyForReading) {
  std::vector<u8> content = good();
  content[79] = kCorrupt;
  EXPECT_HAS(refusal(content), "marked corrupt");
  ImageOptions auto_read_only;
  auto_read_only.auto_read_only = true;
  auto image = open(memory(content), auto_read_only);
  ASSERT_TRUE(image);
  EXPECT_TRUE(image->is_read_only());
  EXPECT_EQ(read(*image, 0, 512), std::vector<u8>(512));
}

TEST_F(Hostile, AGuestClusterOverMetadataMarksTheImageCorrupt) {
  auto file = made({.bytes = 1u << 20});
  {
    auto image = open(file);
    ASSERT_EQ(write(*image, 0, pattern(512, 1)), 0);
    close(*image);
  }
  // The first L2 entry points at the refcount table now.
  const u64 l1 = load_be64(file->content().data() + 40);
  const u64 l2 = load_be64(file->content().data() + l1) & kOffsetMask;
  store_be64(file->content().data() + l2, 0x10000 | kCopied);
  std::vector<Corruption> heard;
  ImageOptions options;
  options.on_corruption = [&](const Corruption& c) { heard.push_back(c); };
  auto image = open(file, options);
  const std::vector<u8> table(file->content().begin() + 0x10000, file->content().begin() + 0x10200);
  EXPECT_EQ(write(*image, 0, pattern(512, 2)), EIO);
  EXPECT_TRUE(std::equal(table.begin(), table.end(), file->content().begin() + 0x10000));
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_TRUE(heard[0].fatal);
  EXPECT_EQ(heard[0].offset, 0x10000u);
  EXPECT_EQ(file->content()[79] & kCorrupt, kCorrupt);
  std::vector<u8> buffer(512);
  const iovec part = {buffer.data(), 512};
  EXPECT_EQ(run(image->read(65536, {&part, 1})), EIO);
  EXPECT_EQ(run(image->flush()), EIO);
}

TEST_F(Hostile, AFreeClusterThatHoldsATableIsNotGivenOut) {
  auto file = made({.bytes = 1u << 20});
  // All counts zero: the allocator would hand out the header.
  std::fill_n(file->content().begin() + 0x20000, 64, 0);
  auto image = open(file);
  EXPECT_EQ(write(*image, 0, pattern(512, 2)), EIO);
  EXPECT_EQ(file->content()[79] & kCorrupt, kCorrupt);
  EXPECT_EQ(load_be32(file->content().data()), kMagic);
}

TEST_F(Hostile, AFullFileFailsTheRequestAndKeepsTheImage) {
  auto file = made({.bytes = 8u << 20, .cluster = 4096});
  auto image = open(file);
  file->most_bytes = 1u << 20;
  std::vector<u8> model(8u << 20);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    const u64 offset = u64(i) * 27 % 2048 * 4096;
    const auto data = pattern(4096, u8(i));
    const IoStatus status = write(*image, offset, data);
    if (status == 0) {
      std::copy(data.begin(), data.end(), model.begin() + i64(offset));
    } else {
      ++refused;
      EXPECT_EQ(status, ENOSPC);
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(read(*image, 0, model.size()), model);
  // Space comes back: it goes on.
  file->most_bytes = 1u << 30;
  EXPECT_EQ(write(*image, 0, pattern(4096, 99)), 0);
  close(*image);
  expect_clean(file);
}

TEST_F(Hostile, FailedWritesLoseNothingThatWasFlushedLater) {
  for (unsigned at = 1; at < 60; ++at) {
    auto file = made({.bytes = 1u << 20, .cluster = 4096});
    auto image = open(file);
    std::vector<u8> model(1u << 20);
    file->writes_until_failure = at;
    for (int i = 0; i < 24; ++i) {
      const u64 offset = u64(i) * 7 % 64 * 16384;
      const auto data = pattern(6000, u8(i + 1));
      while (write(*image, offset, data) != 0) {}
      std::copy(data.begin(), data.end(), model.begin() + i64(offset));
      if (i % 5 == 0) static_cast<void>(run(image->flush()));
    }
    while (run(image->flush()) != 0) {}
    ASSERT_EQ(read(*image, 0, model.size()), model) << at;
    close(*image);
    const CheckReport report = checked(file);
    ASSERT_EQ(report.errors, 0u) << at;
    auto again = open(file);
    ASSERT_EQ(read(*again, 0, model.size()), model) << at;
  }
}

/// Bytes of tables change at random; then everything is asked of the image.
TEST_F(Hostile, RandomDamageEndsInErrorsAndNothingWorse) {
  const bool is_long = std::getenv("EMU_LONG_TESTS") != nullptr;
  std::vector<std::vector<u8>> images;
  for (CreateOptions options : {CreateOptions{.bytes = 1u << 20, .cluster = 4096},
                                CreateOptions{.bytes = 1u << 20, .cluster = 16384, .extended_l2 = true},
                                CreateOptions{.bytes = 256u << 10, .cluster = 512, .refcount_bits = 1},
                                CreateOptions{.bytes = 1u << 20, .version = 2, .cluster = 4096},
                                CreateOptions{.bytes = 1u << 20, .cluster = 4096, .lazy_refcounts = true,
                                              .compression = Compression::Zstd}}) {
    auto file = made(options);
    auto image = open(file);
    for (int i = 0; i < 8; ++i) ASSERT_EQ(write(*image, u64(i) * 28672, pattern(9000, u8(i))), 0);
    const auto whole = pattern(options.cluster, 3);
    const iovec part = {const_cast<u8*>(whole.data()), whole.size()};
    ASSERT_EQ(run(image->write_compressed(options.cluster * 9, {&part, 1})), 0);
    ASSERT_EQ(run(image->write_zeroes(65536, 40000, IoFlags::MayUnmap)), 0);
    close(*image);
    images.push_back(file->content());
  }
  std::mt19937_64 random(is_long ? std::random_device{}() : 7);
  const int rounds = is_long ? 200000 : 1500;
  int opened = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<u8> content = images[random() % images.size()];
    for (auto n = 1 + random() % 4; n-- > 0;) {
      // Header, L1, an L2 table or counts: where the bytes mean something.
      u64 at = random() % 3 == 0 ? random() % 112 : random() % content.size();
      if (random() % 3 == 0) at = load_be64(&content[40]) % content.size() + random() % 16;
      if (random() % 4 == 0) {
        const u64 l1 = load_be64(&content[40]);
        if (l1 < content.size() - 8) at = (load_be64(&content[l1]) & kOffsetMask) + random() % 512;
      }
      if (at >= content.size()) continue;
      content[at] = random() % 2 ? u8(random()) : u8(content[at] ^ (1u << (random() % 8)));
    }
    if (random() % 16 == 0) content.resize(random() % content.size());
    auto file = memory(std::move(content));
    file->most_bytes = 16u << 20;
    ImageOptions options;
    options.backing = NodeRef();
    options.data_file = random() % 2 ? memory() : nullptr;
    options.read_only = random() % 4 == 0;
    options.auto_read_only = true;
    auto image = try_open(file, options);
    if (image) {
      ++opened;
      Image& node = **image;
      const u64 bytes = std::min<u64>(node.bytes(), 1u << 20);
      for (int i = 0; i < 12 && bytes > 4096; ++i) {
        const u64 offset = random() % (bytes - 4096);
        std::vector<u8> buffer(1 + random() % 4096, 0x5a);
        const iovec part = {buffer.data(), buffer.size()};
        switch (random() % 7) {
          case 0: static_cast<void>(run(node.read(offset, {&part, 1}))); break;
          case 1: static_cast<void>(run(node.write_zeroes(offset, buffer.size(), IoFlags::MayUnmap))); break;
          case 2: static_cast<void>(run(node.discard(offset, buffer.size()))); break;
          case 3: static_cast<void>(run(node.flush())); break;
          case 4: static_cast<void>(run(node.status(offset, bytes - offset))); break;
          default: static_cast<void>(run(node.write(offset, {&part, 1}, IoFlags::None))); break;
        }
      }
      if (random() % 4 == 0) static_cast<void>(run(node.truncate(random() % 4096 * 512, Preallocation::Off)));
      static_cast<void>(run(node.close()));
    }
    ImageOptions checking;
    checking.for_check = checking.without_children = true;
    auto again = try_open(file, checking);
    if (again) {
      std::function<void(const std::string&)> silent;
      static_cast<void>(run(check(**again, Repair(random() % 3), std::move(silent))));
      static_cast<void>(run((*again)->close()));
    }
  }
  EXPECT_GT(opened, rounds / 4);
}

}  // namespace
}  // namespace emu::block::qcow2
