// SPDX-License-Identifier: Apache-2.0
// Accesses through an address space.
#include "softmmu/memory/address_space.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "softmmu/memory/host_access.h"
#include "softmmu/memory/memory.h"

namespace emu::mem {

namespace {

/// The largest power of two up to 8 that `address` is aligned to and `length` has room for.
unsigned natural_piece(GuestPhys address, u64 length) {
  unsigned piece = unsigned(std::min<u64>(8, std::bit_floor(length)));
  if (address != 0) piece = unsigned(std::min<u64>(piece, address & -address));
  return piece;
}

bool writes_reach_callbacks(const Section& section) {
  return section.is_mapped() &&
         (section.region->kind() == Region::Kind::Mmio || section.region->kind() == Region::Kind::RomDevice);
}

MemTxResult read_section(const Section& section, u8* to, u64 length, MemTxAttrs attrs) {
  if (section.is_ram()) {
    copy_from_ram(to, host_address(*section.ram, section.offset_in_ram), length);
    return MemTxResult::Ok;
  }
  if (!section.is_mapped()) {
    std::memset(to, 0xff, length);
    return MemTxResult::DecodeError;
  }
  MemTxResult result = MemTxResult::Ok;
  for (u64 done = 0; done < length;) {
    const u64 offset = section.offset_in_region + done;
    const unsigned piece = natural_piece(offset, length - done);
    u64 value = 0;
    result = worse(result, section.region->mmio_read(offset, piece, attrs, value));
    const Le64 stored = value;
    std::memcpy(to + done, &stored, piece);
    done += piece;
  }
  return result;
}

MemTxResult write_section(const Section& section, const u8* from, u64 length, MemTxAttrs attrs) {
  if (section.is_ram() && (!section.readonly || attrs.debug)) {
    copy_to_ram(host_address(*section.ram, section.offset_in_ram), from, length);
    section.ram->note_write(section.offset_in_ram, length);
    return MemTxResult::Ok;
  }
  if (!section.is_mapped()) return MemTxResult::DecodeError;
  if (!writes_reach_callbacks(section)) return MemTxResult::Ok;  // ROM takes the write and keeps its bytes
  MemTxResult result = MemTxResult::Ok;
  for (u64 done = 0; done < length;) {
    const u64 offset = section.offset_in_region + done;
    const unsigned piece = natural_piece(offset, length - done);
    Le64 stored;
    std::memcpy(&stored, from + done, piece);
    result = worse(result, section.region->mmio_write(offset, stored.get(), piece, attrs));
    done += piece;
  }
  return result;
}

}  // namespace

AddressSpace::AddressSpace(Memory& memory, std::string name, RegionRef root)
    : memory_(memory), name_(std::move(name)), root_(std::move(root)) {
  current_ = new FlatView(flatten(*root_), memory_.generation());
  memory_.spaces_.push_back(this);
}

AddressSpace::~AddressSpace() {
  std::erase(memory_.spaces_, this);
  memory_.defer([view = current_.load()] { delete view; });
}

template <typename Piece>
MemTxResult AddressSpace::for_each_piece(GuestPhys address, u64 length, Piece&& piece) {
  const GracePeriods::ReadGuard guard(memory_.grace());
  const FlatView& now = view();
  MemTxResult result = MemTxResult::Ok;
  u64 done = 0;
  while (done < length) {
    const Section section = now.lookup(address + done);
    const u64 step = section.size == 0 ? length - done : std::min(length - done, section.size);
    result = worse(result, piece(section, done, step));
    done += step;
    if (done < length && address + done < address) {
      // The rest would be beyond 2^64: nothing is there.
      return worse(result, piece(Section(), done, length - done));
    }
  }
  return result;
}

MemTxResult AddressSpace::read(GuestPhys address, std::span<u8> to, MemTxAttrs attrs) {
  return for_each_piece(address, to.size(), [&](const Section& section, u64 done, u64 length) {
    return read_section(section, to.data() + done, length, attrs);
  });
}

MemTxResult AddressSpace::write(GuestPhys address, std::span<const u8> from, MemTxAttrs attrs) {
  return for_each_piece(address, from.size(), [&](const Section& section, u64 done, u64 length) {
    return write_section(section, from.data() + done, length, attrs);
  });
}

MemTxResult AddressSpace::fill(GuestPhys address, u8 value, u64 length, MemTxAttrs attrs) {
  u8 pattern[kPageSize];
  std::memset(pattern, value, sizeof(pattern));
  return for_each_piece(address, length, [&](Section section, u64, u64 rest) {
    MemTxResult result = MemTxResult::Ok;
    while (rest > 0) {
      const u64 step = std::min<u64>(rest, kPageSize);
      result = worse(result, write_section(section, pattern, step, attrs));
      section.offset_in_region += step;
      section.offset_in_ram += step;
      rest -= step;
      if (!section.is_mapped()) break;
    }
    return result;
  });
}

MemTxResult AddressSpace::load(GuestPhys address, unsigned size, u64& value, MemTxAttrs attrs) {
  EMU_CHECK(size == 1 || size == 2 || size == 4 || size == 8);
  {
    const GracePeriods::ReadGuard guard(memory_.grace());
    const Section section = view().lookup(address);
    if (section.is_mapped() && !section.is_ram() && (section.size == 0 || section.size >= size)) {
      return section.region->mmio_read(section.offset_in_region, size, attrs, value);
    }
  }
  Le64 stored = 0;
  const MemTxResult result = read(address, {reinterpret_cast<u8*>(&stored), size}, attrs);
  value = stored.get();
  return result;
}

MemTxResult AddressSpace::store(GuestPhys address, unsigned size, u64 value, MemTxAttrs attrs) {
  EMU_CHECK(size == 1 || size == 2 || size == 4 || size == 8);
  {
    const GracePeriods::ReadGuard guard(memory_.grace());
    const Section section = view().lookup(address);
    if (writes_reach_callbacks(section) && (section.size == 0 || section.size >= size)) {
      return section.region->mmio_write(section.offset_in_region, value, size, attrs);
    }
  }
  const Le64 stored = value;
  return write(address, {reinterpret_cast<const u8*>(&stored), size}, attrs);
}

MemTxResult AddressSpace::compare_exchange(GuestPhys address, unsigned size, u64 expected, u64 desired, u64& seen) {
  EMU_CHECK((size == 4 || size == 8) && is_aligned(address, size));
  static_assert(std::endian::native == std::endian::little);
  const GracePeriods::ReadGuard guard(memory_.grace());
  const Section section = view().lookup(address);
  if (!section.is_ram() || section.readonly || (section.size != 0 && section.size < size)) {
    return MemTxResult::DecodeError;
  }
  // Regions may start anywhere: what is aligned for the guest need not be in the block.
  if (!is_aligned(section.offset_in_ram, size)) return MemTxResult::DecodeError;
  u8* host = host_address(*section.ram, section.offset_in_ram);
  bool swapped = false;
  if (size == 4) {
    u32 found = u32(expected);
    swapped = __atomic_compare_exchange_n(reinterpret_cast<u32*>(host), &found, u32(desired), false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST);
    seen = found;
  } else {
    seen = expected;
    swapped = __atomic_compare_exchange_n(reinterpret_cast<u64*>(host), &seen, desired, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST);
  }
  if (swapped) section.ram->note_write(section.offset_in_ram, size);
  return MemTxResult::Ok;
}

std::optional<std::vector<PinnedSpan>> AddressSpace::map(GuestPhys address, u64 length, Direction direction,
                                                         MemTxAttrs attrs, u64 max_bounce) {
  std::vector<PinnedSpan> spans;
  u64 bounced = 0;
  const MemTxResult result = for_each_piece(address, length, [&](const Section& section, u64 done, u64 size) {
    PinnedSpan span;
    span.size_ = size;
    span.direction_ = direction;
    span.attrs_ = attrs;
    if (section.is_ram() && (direction == Direction::FromGuest || !section.readonly)) {
      span.ram_ = section.region->ram_block();
      span.offset_in_ram_ = section.offset_in_ram;
      span.data_ = host_address(*section.ram, section.offset_in_ram);
      section.ram->pins_.fetch_add(1);
      spans.push_back(std::move(span));
      return MemTxResult::Ok;
    }
    const bool usable = direction == Direction::FromGuest ? section.is_mapped() : writes_reach_callbacks(section);
    if (!usable || size > max_bounce - bounced) return MemTxResult::DecodeError;
    bounced += size;
    span.bounce_ = std::make_unique<u8[]>(size);
    span.data_ = span.bounce_.get();
    span.space_ = this;
    span.address_ = address + done;
    if (direction == Direction::FromGuest) {
      if (auto read = read_section(section, span.data_, size, attrs); read != MemTxResult::Ok) return read;
    }
    spans.push_back(std::move(span));
    return MemTxResult::Ok;
  });
  if (result != MemTxResult::Ok) return std::nullopt;  // the spans were not used: releasing them writes nothing
  for (PinnedSpan& span : spans) span.used_ = span.size_;
  return spans;
}

PinnedSpan::PinnedSpan(PinnedSpan&& other) noexcept { *this = std::move(other); }

PinnedSpan& PinnedSpan::operator=(PinnedSpan&& other) noexcept {
  if (this == &other) return *this;
  release();
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  used_ = std::exchange(other.used_, 0);
  direction_ = other.direction_;
  ram_ = std::move(other.ram_);
  other.ram_ = nullptr;
  offset_in_ram_ = other.offset_in_ram_;
  bounce_ = std::move(other.bounce_);
  space_ = std::exchange(other.space_, nullptr);
  address_ = other.address_;
  attrs_ = other.attrs_;
  return *this;
}

void PinnedSpan::release() {
  if (direction_ == Direction::ToGuest && used_ > 0) {
    if (ram_ != nullptr) {
      ram_->note_write(offset_in_ram_, used_);
    } else if (space_ != nullptr) {
      // A failure here has nobody to go to: the request was accepted when it was mapped.
      static_cast<void>(space_->write(address_, {bounce_.get(), used_}, attrs_));
    }
  }
  if (ram_ != nullptr) ram_->pins_.fetch_sub(1);
  ram_ = nullptr;
  space_ = nullptr;
  bounce_.reset();
  data_ = nullptr;
  size_ = used_ = 0;
}

void AddressSpace::add_listener(MemoryListener& listener) {
  listeners_.push_back(&listener);
  listener.begin();
  for (const FlatRange& range : view().ranges()) listener.region_add(range);
  listener.commit();
}

void AddressSpace::remove_listener(MemoryListener& listener) { std::erase(listeners_, &listener); }

void AddressSpace::publish(std::vector<FlatRange> ranges, u64 generation) {
  const FlatView* before = current_.load();
  const auto same = [](const FlatRange& a, const FlatRange& b) { return a.same_mapping(b); };
  if (std::equal(before->ranges().begin(), before->ranges().end(), ranges.begin(), ranges.end(), same)) return;
  const auto* after = new FlatView(std::move(ranges), generation);
  current_.store(after, std::memory_order_seq_cst);

  const auto missing = [&](const FlatView& in, const FlatRange& range) {
    const auto& all = in.ranges();
    auto place = std::lower_bound(all.begin(), all.end(), range.first,
                                  [](const FlatRange& r, GuestPhys first) { return r.first < first; });
    return place == all.end() || !place->same_mapping(range);
  };
  for (MemoryListener* listener : listeners_) {
    listener->begin();
    for (const FlatRange& range : before->ranges()) {
      if (missing(*after, range)) listener->region_del(range);
    }
    for (const FlatRange& range : after->ranges()) {
      if (missing(*before, range)) listener->region_add(range);
    }
    listener->commit();
  }
  memory_.defer([before] { delete before; });
}

}  // namespace emu::mem
