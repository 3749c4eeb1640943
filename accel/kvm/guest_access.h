// SPDX-License-Identifier: Apache-2.0
// Guest memory for a Vcpu whose instructions the host's processor runs: page walks for debuggers, and nothing that only
// an emulated instruction would ask for.
#pragma once

#include "softmmu/memory/address_space.h"
#include "target/cpu.h"

namespace emu::accel {

class KvmGuestAccess final : public target::GuestAccess {
 public:
  explicit KvmGuestAccess(mem::AddressSpace& memory) : memory_(memory) {}
  using Status = target::AccessStatus;
  Status load(u64, unsigned, u8, u64&) override { return Status::Fault; }
  Status store(u64, unsigned, u8, u64) override { return Status::Fault; }
  Status load_bytes(u64, std::span<u8>, u8) override { return Status::Fault; }
  Status store_bytes(u64, std::span<const u8>, u8) override { return Status::Fault; }
  Status probe(u64, unsigned, target::Access, u8) override { return Status::Fault; }
  Status compare_exchange(u64, unsigned, u8, u128&, u128) override { return Status::Fault; }
  u64 copy_run(u64, u64, u64, u8) override { return 0; }
  u64 fill_run(u64, u8, u64, u8) override { return 0; }
  bool load_physical(u64 pa, unsigned bytes, u64& value) override {
    return memory_.load(pa, bytes, value, {.requester = mem::MemTxAttrs::Requester::Cpu, .debug = true}) ==
           mem::MemTxResult::Ok;
  }
  bool update_physical(u64, unsigned, u64, u64) override { return false; }
  u32 port_read(u16, unsigned) override { return ~0u; }
  void port_write(u16, unsigned, u32) override {}

 private:
  mem::AddressSpace& memory_;
};

}  // namespace emu::accel
