// SPDX-License-Identifier: Apache-2.0
// Transmitting, SDM §3.3 to §3.5: legacy, context and data descriptors.
#include <algorithm>

#include "hw/net/e1000.h"
#include "util/endian.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {
namespace {

constexpr u32 kEnable = bit(1);  // TCTL
constexpr u32 kCtrlVlanMode = bit(30);
// Commands, in the same bits of all descriptors' third word (§3.3.3, §3.3.6, §3.3.7).
constexpr u32 kEop = bit(24), kInsertSum = bit(26), kTse = bit(26), kReport = bit(27), kExtended = bit(29),
              kVlan = bit(30);
constexpr u32 kTypeMask = 0x00f0'0000, kTypeData = 0x0010'0000;
constexpr u32 kInsertIp = bit(8), kInsertTcp = bit(9);      // POPTS, in the fourth word
constexpr u32 kContextTcp = bit(24), kContextIp4 = bit(25), kContextTse = bit(26);
constexpr u32 kDone = bit(0);
constexpr unsigned kFcsBytes = 4;
constexpr unsigned kMostDescriptors = 1024;  ///< looked at in one go, however many a driver strings together

// Statistics, §13.7.
enum Statistic : unsigned { GPTC = 0x4080, GOTCL = 0x4090, TOTL = 0x40c8, TPT = 0x40d4, PTC64 = 0x40d8, MPTC = 0x40f0, BPTC = 0x40f4, TSCTC = 0x40f8 };

struct Descriptor {
  Le64 address;
  Le32 lower, upper;
};
static_assert(sizeof(Descriptor) == 16);

void put16(std::span<u8> bytes, std::size_t at, u16 value) {
  bytes[at] = u8(value >> 8);
  bytes[at + 1] = u8(value);
}

/// The sum of [start, end] (end 0: all there is) at `offset`; where that is outside nothing happens.
void insert_sum(std::span<u8> frame, unsigned start, unsigned offset, unsigned end) {
  const std::size_t stop = end != 0 && end < frame.size() ? end + 1 : frame.size();
  if (start >= stop || std::size_t(offset) + 2 > frame.size()) {
    return log::guest_error("e1000: a checksum of bytes {} to {} at {} in a frame of {}", start, end, offset, frame.size());
  }
  u16 sum = u16(~net::checksum_fold(net::checksum_add(0, frame.subspan(start, stop - start))));
  if (sum == 0) sum = 0xffff;
  put16(frame, offset, sum);
}

}  // namespace

struct E1000Core::DataDescriptor {
  u64 address;
  u32 lower, upper, bytes;
};

void E1000Core::write_tctl(u32 value) {
  state_.tctl = value;
  if ((value & kEnable) != 0) kick_transmit();
}

void E1000Core::write_tdt(u32 value) {
  state_.tx.tail = value & 0xffff;
  if ((state_.tctl & kEnable) != 0) kick_transmit();
}

bool E1000Core::has_more_work() const {
  return (state_.tctl & kEnable) != 0 && is_bus_master() && state_.tx.is_sound() && state_.tx.head != state_.tx.tail;
}

void E1000Core::write_tx_status(u64 address, u32 upper, bool report) {
  if (!report) return;
  const Le32 status(upper | kDone);
  store(address + offsetof(Descriptor, upper), {reinterpret_cast<const u8*>(&status), sizeof status});
  cause(kTxdw);
}

/// False when the frame grew beyond all bounds or its memory is not there; it is then passed over to its end.
bool E1000Core::add_data(const DataDescriptor& descriptor) {
  if (outgoing_bad_ || descriptor.bytes == 0) return !outgoing_bad_;
  const std::size_t old = outgoing_.size();
  if (old + descriptor.bytes > net::kMostPacketBytes) {
    log::guest_error("{}: a frame of more than {} bytes", type().name(), net::kMostPacketBytes);
    return false;
  }
  outgoing_.resize(old + descriptor.bytes);
  if (dma().read(descriptor.address, std::span(outgoing_).subspan(old)) == mem::MemTxResult::Ok) return true;
  log::guest_error("{}: a frame's bytes are not in memory at {:#x}", type().name(), descriptor.address);
  return false;
}

/// The offloads that the frame's first data descriptor asks for, by the context that it means.
E1000Core::OutFrame E1000Core::finish_frame() {
  OutFrame frame;
  frame.bytes = std::move(outgoing_);
  const u32 lower = *outgoing_first_, upper = outgoing_upper_;
  unsigned shift = 0;
  const bool extended = (lower & kExtended) != 0;
  const bool segmented = extended && (lower & kTse) != 0;
  const Context& context = segmented ? state_.segmentation : state_.checksum;
  const unsigned tucss = context.tcp & 0xff, tucso = context.tcp >> 8 & 0xff, tucse = context.tcp >> 16;
  if (extended && !segmented) {
    if ((upper & kInsertIp) != 0) {
      insert_sum(frame.bytes, context.ip & 0xff, context.ip >> 8 & 0xff, context.ip >> 16);
    }
    const bool whole = tucse == 0 && tucso >= tucss && (lower & kVlan) == 0;
    if ((upper & kInsertTcp) != 0 && whole && std::size_t(tucso) + 2 <= frame.bytes.size()) {
      frame.offload = {.flags = 1, .csum_start = u16(tucss), .csum_offset = u16(tucso - tucss)};
    } else if ((upper & kInsertTcp) != 0) {
      insert_sum(frame.bytes, tucss, tucso, tucse);
    }
  }
  if ((lower & kVlan) != 0 && (state_.ctrl & kCtrlVlanMode) != 0 && frame.bytes.size() >= 14) {
    const u8 tag[] = {u8(state_.vet >> 8), u8(state_.vet), u8(upper >> 24), u8(upper >> 16)};
    frame.bytes.insert(frame.bytes.begin() + 12, std::begin(tag), std::end(tag));
    shift = sizeof tag;
  }
  if (segmented) {
    const auto layout = net::parse_frame(frame.bytes);
    const unsigned mss = context.segment >> 16, header = (context.segment >> 8 & 0xff) + shift;
    const bool is_tcp = (context.command & kContextTcp) != 0;
    if (!layout || layout->is_fragment || mss == 0 || layout->protocol != (is_tcp ? 6 : 17) ||
        layout->is_v6 == ((context.command & kContextIp4) != 0) || header < layout->payload) {
      log::guest_error("{}: a frame to be segmented whose headers are not as the context says", type().name());
      frame.bytes.clear();
      return frame;
    }
    // The driver leaves lengths and the pseudo-header's sum for each segment; who segments wants them for the whole.
    const u32 body = u32(frame.bytes.size() - layout->transport);
    const unsigned sum_at = layout->transport + (is_tcp ? 16 : 6);
    net::FrameLayout whole = *layout;
    whole.end = unsigned(frame.bytes.size());
    const unsigned length_at = layout->network + (layout->is_v6 ? 4 : 2);
    const std::size_t length = frame.bytes.size() - layout->network - (layout->is_v6 ? 40 : 0);
    put16(frame.bytes, length_at, length > 0xffff ? u16(0) : u16(length));
    put16(frame.bytes, sum_at, net::checksum_fold(net::pseudo_header_sum(frame.bytes, whole, body)));
    if (!layout->is_v6) {
      put16(frame.bytes, layout->network + 10, 0);
      insert_sum(frame.bytes, layout->network, layout->network + 10, layout->transport - 1);
    }
    frame.offload = {.flags = 1,
                     .gso_type = u8(!is_tcp ? 5 : layout->is_v6 ? 4 : 1),
                     .header_bytes = u16(layout->payload),
                     .segment_bytes = u16(mss),
                     .csum_start = u16(layout->transport),
                     .csum_offset = u16(is_tcp ? 16 : 6)};
    count(TSCTC);
  }
  return frame;
}

std::optional<PciNic::OutFrame> E1000Core::next_frame() {
  Ring& ring = state_.tx;
  if ((state_.tctl & kEnable) == 0 || !is_bus_master()) return std::nullopt;
  if (!ring.is_sound()) {
    if (ring.count() != 0) log::guest_error("{}: TDH {} and TDT {} in a ring of {}", type().name(), ring.head, ring.tail, ring.count());
    return std::nullopt;
  }
  for (unsigned looked_at = 0; ring.head != ring.tail && looked_at < kMostDescriptors; looked_at++) {
    const u64 address = ring.base() + u64(ring.head) * sizeof(Descriptor);
    const auto read = dma().read<Descriptor>(address);
    ring.head = ring.head + 1 == ring.count() ? 0 : ring.head + 1;
    if (ring.head == ring.tail) cause(kTxqe);
    if (!read) {
      log::guest_error("{}: the transmit ring is not in memory at {:#x}", type().name(), address);
      continue;
    }
    const u32 lower = read->lower.get(), upper = read->upper.get();
    const bool report = (lower & kReport) != 0;
    const bool extended = (lower & kExtended) != 0;
    if (extended && (lower & kTypeMask) != kTypeData) {
      Context& context = (lower & kContextTse) != 0 ? state_.segmentation : state_.checksum;
      const u64 first = read->address.get();
      context = {.ip = u32(first), .tcp = u32(first >> 32), .command = lower, .segment = upper};
      write_tx_status(address, upper, report);
      continue;
    }
    const u32 bytes = lower & (extended ? 0xfffff : 0xffff);
    if (!outgoing_first_) {
      outgoing_first_ = lower;
      outgoing_upper_ = upper;
    }
    if (!add_data({read->address.get(), lower, upper, bytes})) outgoing_bad_ = true;
    write_tx_status(address, upper, report);
    if ((lower & kEop) == 0) continue;

    if (!extended && !outgoing_bad_ && (lower & kInsertSum) != 0) {  // §3.3.3: CSS and CSO
      insert_sum(outgoing_, upper >> 8 & 0xff, lower >> 16 & 0xff, 0);
    }
    if ((lower & kVlan) != 0) {  // VLE counts in the last descriptor
      *outgoing_first_ |= kVlan;
      outgoing_upper_ = (outgoing_upper_ & 0xffff) | (upper & 0xffff'0000);
    }
    OutFrame frame;
    if (!outgoing_bad_ && outgoing_.size() >= 14) frame = finish_frame();
    outgoing_.clear();
    outgoing_bad_ = false;
    outgoing_first_.reset();
    if (frame.bytes.empty()) continue;
    const std::size_t on_wire = std::max<std::size_t>(frame.bytes.size(), 60) + kFcsBytes;
    count(GPTC);
    count(TPT);
    count_bytes(GOTCL, on_wire);
    count_bytes(TOTL, on_wire);
    count_size(PTC64, on_wire);
    if ((frame.bytes[0] & 1) != 0) {
      const bool broadcast = std::all_of(frame.bytes.begin(), frame.bytes.begin() + 6, [](u8 b) { return b == 0xff; });
      count(broadcast ? BPTC : MPTC);
    }
    EMU_TRACE("e1000_tx", "{} bytes, offload {}", frame.bytes.size(), frame.offload.gso_type);
    frame.to_ourselves = is_looped_back();
    return frame;
  }
  return std::nullopt;
}

}  // namespace emu::hw
