// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: a file that says it is a qcow2 image is opened, read, written, resized, checked and repaired. The
// first four bytes of an input choose what is done, the rest is the file.
#include <algorithm>

#include "block/qcow2/check.h"
#include "block/qcow2/image.h"
#include "fuzz/fuzz_input.h"
#include "fuzz/fuzz_seen.h"
#include "unit/block/qcow2/memory_node.h"

namespace emu::fuzz {
namespace {

using namespace block;
using namespace block::qcow2;

constexpr u64 kMostFile = 4 << 20, kMostRequest = 1 << 16;

/// Whatever image is behind another one: what it holds is not its business.
Task<Result<NodeRef>> open_child(EventLoop& loop, std::string role) {
  co_return NodeRef(std::make_shared<MemoryNode>(loop, "c" + role, std::vector<u8>(1 << 16, 0x77)));
}

ImageOptions options(EventLoop& loop, bool read_only) {
  ImageOptions made;
  made.read_only = read_only;
  made.auto_read_only = true;
  made.open_child = [&loop](std::string role, std::string, std::string) { return open_child(loop, std::move(role)); };
  return made;
}

void use(EventLoop& loop, Image& image, u32 what) {
  std::vector<u8> data(kMostRequest, 0x42);
  const u64 end = image.bytes();
  // The beginning, the end, and somewhere that the fuzzer chooses.
  const u64 places[] = {0, end - std::min<u64>(end, 700), end == 0 ? 0 : u64(what >> 8) * 0x9e3779b97f4a7c15u % end};
  for (const u64 place : places) {
    const u64 bytes = std::min<u64>({end - place, kMostRequest, (what & 1) != 0 ? 512u : 70000u});
    const iovec part = {data.data(), bytes};
    note(1, u64(run_sync(loop, image.read(place, {&part, 1}))));
    static_cast<void>(run_sync(loop, image.status(place, end - place)));
    if ((what & 2) != 0) static_cast<void>(run_sync(loop, image.write(place, {&part, 1}, IoFlags::None)));
    if ((what & 4) != 0) static_cast<void>(run_sync(loop, image.write_zeroes(place, bytes, IoFlags::MayUnmap)));
    if ((what & 8) != 0) static_cast<void>(run_sync(loop, image.discard(place, bytes)));
    if ((what & 16) != 0) static_cast<void>(run_sync(loop, image.flush()));
  }
  if ((what & 32) != 0 && end < (u64(1) << 40)) {
    const u64 wanted = (what & 64) != 0 ? align_down(end / 2, 512) : end + 4096;
    static_cast<void>(run_sync(loop, image.truncate(wanted, Preallocation::Off)));
  }
  static_cast<void>(run_sync(loop, image.close()));
}

void look_over(EventLoop& loop, const std::shared_ptr<MemoryNode>& file, bool repair) {
  ImageOptions asked = options(loop, !repair);
  asked.for_check = true;
  asked.without_children = true;
  const auto image = run_sync(loop, Image::open(loop, "image", file, std::move(asked)));
  if (!image) return note(image.error().text());
  static_cast<void>(run_sync(loop, check(**image, repair ? Repair::All : Repair::None,
                                         [](const std::string& line) { note(line); })));
  static_cast<void>(run_sync(loop, (*image)->close()));
}

}  // namespace
}  // namespace emu::fuzz

extern "C" int LLVMFuzzerTestOneInput(const emu::u8* data, std::size_t size) {
  using namespace emu;
  fuzz::Input input({data, size});
  const u32 what = input.word();
  EventLoop loop;
  const auto bytes = input.rest();
  auto file = std::make_shared<block::MemoryNode>(loop, "file", std::vector<u8>(bytes.begin(), bytes.end()));
  file->most_bytes = fuzz::kMostFile;
  if ((what & 128) != 0) fuzz::look_over(loop, file, false);
  {
    const auto image =
        run_sync(loop, block::qcow2::Image::open(loop, "image", file, fuzz::options(loop, (what & 0x1e) == 0)));
    if (image) {
      fuzz::use(loop, **image, what);
    } else {
      fuzz::note(image.error().text());
    }
  }
  if ((what & 128) != 0) fuzz::look_over(loop, file, true);
  return 0;
}
