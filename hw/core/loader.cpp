// SPDX-License-Identifier: Apache-2.0
#include "hw/core/loader.h"

#include "util/file.h"
#include "util/log.h"

namespace emu::hw {
namespace {

// ELF header and program header, in the form of files of 32 and of 64 bits.
constexpr std::string_view kMagic = "\x7f" "ELF";
constexpr std::size_t kClassAt = 4, kDataAt = 5;
constexpr u8 kClass64 = 2, kBigEndian = 2;
constexpr u64 kLoad = 1;

/// Numbers of a file, in its byte order; those behind its end are zero, and remembered.
class Fields {
 public:
  Fields(std::string_view file, bool big_endian) : file_(file), big_endian_(big_endian) {}
  u64 get(u64 at, unsigned bytes) {
    if (at > file_.size() || bytes > file_.size() - at) {
      beyond_ = true;
      return 0;
    }
    u64 value = 0;
    for (unsigned i = 0; i < bytes; i++) {
      const unsigned shift = 8 * (big_endian_ ? bytes - 1 - i : i);
      value |= u64(u8(file_[at + i])) << shift;
    }
    return value;
  }
  bool went_beyond() const { return beyond_; }

 private:
  std::string_view file_;
  bool big_endian_;
  bool beyond_ = false;
};

}  // namespace

Result<std::vector<GenericLoader::Piece>> read_elf_pieces(std::string_view file) {
  constexpr std::size_t kIdentBytes = 16;
  if (file.size() < kIdentBytes || !file.starts_with(kMagic)) return error("it is no ELF file");
  const bool wide = u8(file[kClassAt]) == kClass64;
  Fields fields(file, u8(file[kDataAt]) == kBigEndian);
  const u64 table = wide ? fields.get(32, 8) : fields.get(28, 4);
  const u64 entry_bytes = fields.get(wide ? 54 : 42, 2), count = fields.get(wide ? 56 : 44, 2);
  std::vector<GenericLoader::Piece> pieces;
  for (u64 i = 0; i < count && !fields.went_beyond(); i++) {
    const u64 at = table + i * entry_bytes;
    if (at < table) return error("its program headers lie behind its end");
    if (fields.get(at, 4) != kLoad) continue;
    const u64 offset = wide ? fields.get(at + 8, 8) : fields.get(at + 4, 4);
    const u64 address = wide ? fields.get(at + 24, 8) : fields.get(at + 12, 4);
    const u64 in_file = wide ? fields.get(at + 32, 8) : fields.get(at + 16, 4);
    const u64 in_memory = wide ? fields.get(at + 40, 8) : fields.get(at + 20, 4);
    if (offset > file.size() || in_file > file.size() - offset) return error("a segment lies behind its end");
    if (in_memory < in_file || in_memory > GenericLoader::kMostBytes) return error("a segment has no sensible size");
    std::vector<u8> bytes(file.begin() + i64(offset), file.begin() + i64(offset + in_file));
    bytes.resize(in_memory);
    if (!bytes.empty()) pieces.push_back({address, std::move(bytes)});
  }
  if (fields.went_beyond()) return error("its program headers lie behind its end");
  if (pieces.empty()) return error("it has nothing to load");
  return pieces;
}

void GenericLoader::describe(TypeInfo<GenericLoader>& type) {
  type.doc("Puts a value or a file into memory at each reset");
  type.category(Category::Misc);
  type.property("addr", &GenericLoader::address_, "where it goes");
  type.property("data", &GenericLoader::data_, "the value");
  type.property("data-len", &GenericLoader::data_bytes_, "its length: 1 to 8 bytes");
  type.property("data-be", &GenericLoader::data_big_endian_, "its first byte is the highest");
  type.property("cpu-num", &GenericLoader::cpu_, "whose memory; all CPUs see the same");
  type.property("file", &GenericLoader::file_, "a file instead");
  type.property("force-raw", &GenericLoader::force_raw_, "the bytes of the file, also if it is an ELF file");
}

Result<void> GenericLoader::realize() {
  const bool has_data = data_ != 0 || data_bytes_ != 0;
  if (has_data == !file_.empty()) return error("loader: either data= with data-len=, or file= is needed");
  if (has_data && cpu_ != ~0u) return error("loader: cpu-num= cannot be used together with data=");
  if (cpu_ != ~0u) return error("loader: cpu-num= is not supported: where CPUs start is for firmware to say");
  pieces_.clear();
  return has_data ? take_data() : take_file();
}

Result<void> GenericLoader::take_data() {
  if (address_ == kNone) return error("loader: addr= is missing");
  if (data_bytes_ == 0 || data_bytes_ > 8) return error("loader: data-len={} is not 1 to 8 bytes", data_bytes_);
  if (data_bytes_ < 8 && data_ >> (8 * data_bytes_) != 0) {
    return error("loader: data={:#x} does not fit into {} bytes", data_, data_bytes_);
  }
  Piece piece{address_, std::vector<u8>(data_bytes_)};
  for (unsigned i = 0; i < data_bytes_; i++) {
    piece.bytes[data_big_endian_ ? data_bytes_ - 1 - i : i] = u8(data_ >> (8 * i));
  }
  pieces_.push_back(std::move(piece));
  return {};
}

Result<void> GenericLoader::take_file() {
  const std::string file = EMU_TRY(read_file(file_, kMostBytes), "loader");
  if (!force_raw_ && file.starts_with(kMagic)) {
    pieces_ = EMU_TRY(read_elf_pieces(file), fmt::format("loader: '{}'", file_));
    return {};
  }
  if (address_ == kNone) return error("loader: addr= is missing: '{}' does not say where it goes", file_);
  pieces_.push_back({address_, std::vector<u8>(file.begin(), file.end())});
  return {};
}

void GenericLoader::reset_hold() {
  for (const Piece& piece : pieces_) {
    const std::span<const u8> bytes(piece.bytes);
    if (machine_services().system_memory().write(piece.address, bytes) != mem::MemTxResult::Ok) {
      log::warn("loader: not all of {:#x}..{:#x} is memory", piece.address, piece.address + bytes.size() - 1);
    }
  }
}

void register_loader(TypeRegistry& registry) { registry.add<GenericLoader>("loader"); }

}  // namespace emu::hw
