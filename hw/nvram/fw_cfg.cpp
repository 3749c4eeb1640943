// SPDX-License-Identifier: Apache-2.0
#include "hw/nvram/fw_cfg.h"

#include <algorithm>
#include <cstring>

#include "util/log.h"

namespace emu::hw {
namespace {

constexpr u16 kSelectorMask = 0xbfff;  // bit 14 asks for the old way of writing, which no longer exists, §"Selector"
constexpr u64 kDmaSignature = 0x51454d5520434647;  // "QEMU CFG"
constexpr u32 kVersionTraditional = bit(0), kVersionDma = bit(1);

struct DirectoryEntry {
  Be32 size;
  Be16 select, reserved;
  char name[FwCfg::kNameBytes] = {};
};
static_assert(sizeof(DirectoryEntry) == 64);

struct DmaRequest {
  Be32 control, length;
  Be64 address;
};
static_assert(sizeof(DmaRequest) == 16);

template <typename Ordered>
FwCfg::Bytes bytes_of(Ordered value) {
  FwCfg::Bytes bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

}  // namespace

void FwCfg::describe(TypeInfo<FwCfg>& type) {
  type.doc("Firmware configuration (fw_cfg)");
  type.not_user_creatable();
  type.property("dma_enabled", &FwCfg::dma_enabled_, "whether the DMA interface is offered");
  type.region("fwcfg", 2, &FwCfg::read_port, &FwCfg::write_port, {.valid = {1, 2}, .impl = {1, 2}});
  type.region("fwcfg.dma", 8, &FwCfg::read_dma, &FwCfg::write_dma,
              {.valid = {1, 8}, .impl = {1, 8}, .endian = mem::Endian::Big});
  type.saved(1, &FwCfg::fields, &FwCfg::after_load);
}

Result<void> FwCfg::realize() {
  map_ports("fwcfg", kPort);
  if (dma_enabled_) map_ports("fwcfg.dma", kDmaPort);
  add_bytes(SIGNATURE, {'Q', 'E', 'M', 'U'});
  add_u32(ID, kVersionTraditional | (dma_enabled_ ? kVersionDma : 0));
  return {};
}

void FwCfg::reset_enter() {
  state_ = {};
  for (auto& [name, item] : files_) {
    item.made = false;
    if (item.writable) item.data = item.initial;
  }
}

void FwCfg::fields(Archive& ar) {
  ar("key", state_.key)("offset", state_.offset)("dma_address", state_.dma_address);
  for (auto& [name, item] : files_) {
    if (item.writable) ar("file " + name, item.data);
  }
}

Result<void> FwCfg::after_load() {
  if (state_.key & ~kSelectorMask) return error("fw_cfg: key {:#x} is out of range", state_.key);
  if (state_.key == FILE_DIR) build_directory();
  return {};
}

// What the board adds. -----------------------------------------------------------------------------------------------

void FwCfg::add_bytes(u16 key, Bytes data) {
  EMU_CHECK((key & ~kSelectorMask) == 0 && key != FILE_DIR && (key < FILE_FIRST || key >= 0x8000));
  items_[key] = Item{.data = std::move(data)};
}
void FwCfg::add_u16(u16 key, u16 value) { add_bytes(key, bytes_of(Le16(value))); }
void FwCfg::add_u32(u16 key, u32 value) { add_bytes(key, bytes_of(Le32(value))); }
void FwCfg::add_u64(u16 key, u64 value) { add_bytes(key, bytes_of(Le64(value))); }

void FwCfg::add_string(u16 key, std::string_view text) {
  Bytes bytes(text.begin(), text.end());
  bytes.push_back(0);
  add_bytes(key, std::move(bytes));
}

void FwCfg::add_file(const std::string& name, Bytes data) {
  EMU_CHECK(!name.empty() && name.size() < kNameBytes && files_.size() < kMaxFiles);
  files_[name] = Item{.data = std::move(data)};
}

void FwCfg::add_file(const std::string& name, Provider provider) {
  add_file(name, Bytes());
  files_[name].provider = std::move(provider);
}

void FwCfg::add_writable_file(const std::string& name, Bytes data, Written written) {
  add_file(name, data);
  Item& item = files_[name];
  item.initial = std::move(data);
  item.writable = true;
  item.written = std::move(written);
}

const FwCfg::Bytes* FwCfg::file(const std::string& name) {
  const auto found = files_.find(name);
  if (found == files_.end()) return nullptr;
  refresh(found->second);
  return &found->second.data;
}

std::vector<std::string> FwCfg::file_names() const {
  std::vector<std::string> names;
  for (const auto& [name, item] : files_) names.push_back(name);
  return names;
}

// Selection. ---------------------------------------------------------------------------------------------------------

void FwCfg::refresh(Item& item) {
  if (!item.provider || item.made) return;
  item.made = true;
  item.data = item.provider();
}

void FwCfg::build_directory() {
  directory_.data = bytes_of(Be32(u32(files_.size())));
  u16 key = FILE_FIRST;
  for (auto& [name, item] : files_) {
    refresh(item);
    DirectoryEntry entry{.size = u32(item.data.size()), .select = key++, .reserved = u16(0)};
    std::memcpy(entry.name, name.data(), name.size());
    const Bytes bytes = bytes_of(entry);
    directory_.data.insert(directory_.data.end(), bytes.begin(), bytes.end());
  }
}

FwCfg::Item* FwCfg::selected() {
  if (state_.key == FILE_DIR) return &directory_;
  if (state_.key >= FILE_FIRST && state_.key < 0x8000) {
    const size_t index = state_.key - FILE_FIRST;
    return index < files_.size() ? &std::next(files_.begin(), std::ptrdiff_t(index))->second : nullptr;
  }
  const auto found = items_.find(state_.key);
  return found == items_.end() ? nullptr : &found->second;
}

void FwCfg::select(u16 key) {
  state_.key = key & kSelectorMask;
  state_.offset = 0;
  if (state_.key == FILE_DIR) build_directory();
  if (Item* item = selected())
    refresh(*item);
  else
    log::guest_error("fw_cfg: nothing at selector {:#x}", state_.key);
}

u8 FwCfg::read_byte() {
  const Item* item = selected();
  if (item == nullptr || state_.offset >= item->data.size()) return 0;
  return item->data[state_.offset++];
}

u64 FwCfg::read_port(u64 offset, unsigned size) {
  return offset == 1 && size == 1 ? read_byte() : 0;  // the selector is write-only
}

void FwCfg::write_port(u64 offset, u64 value, unsigned size) {
  if (offset == 0 && size == 2) return select(u16(value));
  if (offset == 0) return select(u16((state_.key & 0xff00) | u8(value)));
  log::guest_error("fw_cfg: the data port is read-only, use DMA to write");
}

// DMA. ---------------------------------------------------------------------------------------------------------------

u64 FwCfg::read_dma(u64 offset, unsigned size) {
  return bits(kDmaSignature, unsigned(63 - 8 * offset), unsigned(64 - 8 * (offset + size)));
}

void FwCfg::write_dma(u64 offset, u64 value, unsigned size) {
  if (size == 8) {
    state_.dma_address = value;
  } else if (size == 4 && offset == 0) {
    state_.dma_address = value << 32;
    return;  // the low half starts it
  } else if (size == 4) {
    state_.dma_address = (state_.dma_address & ~u64(0xffff'ffff)) | u32(value);
  } else {
    return log::guest_error("fw_cfg: DMA address written by {} bytes", size);
  }
  run_dma();
}

void FwCfg::run_dma() {
  const u64 where = std::exchange(state_.dma_address, 0);
  const auto request = dma().read<DmaRequest>(where);
  if (!request) return log::guest_error("fw_cfg: no DMA request can be read at {:#x}", where);
  const u32 control = request->control.get();
  if (control & kDmaSelect) select(u16(control >> 16));
  const bool done = transfer(selected(), control, request->address.get(), request->length.get());
  if (dma().write<Be32>(where, done ? 0 : kDmaError) != mem::MemTxResult::Ok) {
    log::guest_error("fw_cfg: the DMA request at {:#x} cannot be written", where);
  }
}

/// One of read, write and skip, in this order of preference. What lies beyond the end of an item reads as zeros.
bool FwCfg::transfer(Item* item, u32 control, u64 address, u32 length) {
  const size_t size = item == nullptr ? 0 : item->data.size();
  const u32 available = state_.offset >= size ? 0 : u32(std::min<u64>(size - state_.offset, length));
  if (control & kDmaRead) {
    bool ok = true;
    if (available != 0)
      ok = dma().write(address, {item->data.data() + state_.offset, available}) == mem::MemTxResult::Ok;
    if (ok && length > available) ok = dma().fill(address + available, 0, length - available) == mem::MemTxResult::Ok;
    state_.offset += available;
    return ok;
  }
  if (control & kDmaWrite) {
    if (length == 0) return true;
    if (item == nullptr || !item->writable || available != length) {
      log::guest_error("fw_cfg: write of {} bytes to selector {:#x} refused", length, state_.key);
      return false;
    }
    Bytes incoming(length);
    if (dma().read(address, incoming) != mem::MemTxResult::Ok) return false;
    std::copy(incoming.begin(), incoming.end(), item->data.begin() + state_.offset);
    state_.offset += length;
    if (item->written) item->written(item->data);
    return true;
  }
  if (control & kDmaSkip) state_.offset += available;
  return true;
}

void register_fw_cfg(TypeRegistry& registry) { registry.add<FwCfg>("fw_cfg_io"); }

}  // namespace emu::hw
