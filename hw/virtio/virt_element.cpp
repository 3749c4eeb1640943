// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virt_element.h"

#include <algorithm>

#include "hw/virtio/virtio_regs.h"
#include "softmmu/memory/ram_window.h"

namespace emu::hw {

void VirtElement::clear(mem::AddressSpace& space) {
  space_ = &space;
  readable_.clear();
  writable_.clear();
  readable_bytes_ = writable_bytes_ = 0;
  id_ = descriptors_ = 0;
}

bool VirtElement::add(mem::GuestPhys address, u32 length, bool writable) {
  if (!writable && !writable_.empty()) return false;  // 2.7.4.2: readable ones come first
  if (readable_.size() + writable_.size() >= virtio::kMaxQueueSize) return false;
  if (writable) {
    writable_.push_back({address, length});
    writable_bytes_ += length;
  } else {
    readable_.push_back({address, length});
    readable_bytes_ += length;
  }
  return true;
}

template <typename Piece>
bool VirtElement::for_each_piece(std::span<const VirtBuffer> buffers, u64 offset, u64 length, Piece&& piece) {
  u64 done = 0;
  for (const VirtBuffer& buffer : buffers) {
    if (done == length) break;
    if (offset >= buffer.length) {
      offset -= buffer.length;
      continue;
    }
    const u64 size = std::min<u64>(buffer.length - offset, length - done);
    const mem::GuestPhys address = buffer.address + offset;
    if (address < buffer.address) return false;  // wraps around
    if (!piece(address, done, size)) return false;
    done += size;
    offset = 0;
  }
  return done == length;
}

bool VirtElement::read(u64 offset, std::span<u8> to) const {
  return for_each_piece(readable_, offset, to.size(), [&](mem::GuestPhys address, u64 done, u64 size) {
    return mem::read_ram(*space_, address, to.subspan(done, size));
  });
}

bool VirtElement::write(u64 offset, std::span<const u8> from) const {
  return for_each_piece(writable_, offset, from.size(), [&](mem::GuestPhys address, u64 done, u64 size) {
    return mem::write_ram(*space_, address, from.subspan(done, size));
  });
}

bool VirtElement::map(mem::Direction direction, u64 offset, u64 length, std::vector<mem::PinnedSpan>& spans) const {
  const auto& buffers = direction == mem::Direction::FromGuest ? readable_ : writable_;
  return for_each_piece(buffers, offset, length, [&](mem::GuestPhys address, u64, u64 size) {
    auto mapped = space_->map(address, size, direction, {}, /*max_bounce=*/0);
    if (!mapped) return false;
    std::move(mapped->begin(), mapped->end(), std::back_inserter(spans));
    return true;
  });
}

std::vector<iovec> to_iovecs(std::span<const mem::PinnedSpan> spans) {
  std::vector<iovec> parts;
  parts.reserve(spans.size());
  for (const mem::PinnedSpan& span : spans) parts.push_back({span.data(), span.size()});
  return parts;
}

}  // namespace emu::hw
