// SPDX-License-Identifier: Apache-2.0
// The words of guest memory: addresses, pages, access attributes and outcomes.
#pragma once

#include "util/bits.h"
#include "util/types.h"

namespace emu::mem {

/// An address as it appears on a bus of the guest machine.
using GuestPhys = hwaddr;
/// Sizes of regions: a whole 64-bit address space does not fit in 64 bits.
using Size = u128;
inline constexpr Size kWholeAddressSpace = Size(1) << 64;

/// RAM is counted and tracked in pages of 4 KiB on every guest.
inline constexpr unsigned kPageShift = 12;
inline constexpr u64 kPageSize = u64(1) << kPageShift;

/// Number of a 4 KiB page of RAM, counted over all RamBlocks of the machine; never given out twice. It does not
/// change when the guest moves the RAM to another address, so it can key translated code.
enum class RamPage : u32 {};
inline constexpr RamPage kNoRamPage{~u32(0)};

/// Who accesses, and how. The default is a plain data access by a device.
struct MemTxAttrs {
  enum class Requester : u8 { Device, Cpu, Host };
  Requester requester = Requester::Device;
  bool secure = false;  ///< Arm secure, x86 SMM
  bool user = false;    ///< unprivileged
  bool debug = false;   ///< gdb, loaders: may write ROM, and must have no side effects on devices
  u16 requester_id = 0;  ///< vCPU index, or PCI bus:device.function
};

/// How an access ended. What the bus or the instruction set makes of a failure is for the caller to know.
enum class [[nodiscard]] MemTxResult : u8 {
  Ok,
  DecodeError,  ///< nothing there; reads gave all ones, writes were ignored
  DeviceError,  ///< there, but it refused
};
constexpr MemTxResult worse(MemTxResult a, MemTxResult b) { return a == MemTxResult::Ok ? b : a; }

enum class Endian : u8 { Little, Big };

/// Whether the machine lock is taken around a region's callbacks.
enum class Locking : u8 {
  Machine,  ///< taken by the caller of the callback; the callback is never entered twice at once
  None,     ///< callbacks come from any thread at any time, also while the machine lock is held
};

enum class Direction : u8 { FromGuest, ToGuest };  ///< of bulk DMA: reads guest memory, or writes it

}  // namespace emu::mem
