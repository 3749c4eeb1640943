// SPDX-License-Identifier: Apache-2.0
// Guest code to blocks.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "accel/tcg/runtime_vcpu.h"
#include "softmmu/memory/host_access.h"
#include "tcg/ir/verify.h"
#include "tcg/passes/passes.h"
#include "util/check.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::tcg {

using namespace accel;
using target::Access;
using target::TranslateResult;

namespace {

constexpr unsigned kMaxInsns = 64;
constexpr unsigned kLongestInsn = 16;
constexpr size_t kMinHotRoom = 1024;
constexpr size_t kMinColdRoom = 2048;
constexpr size_t kStubRoom = 64;

/// Counts the time of its scope as part of publishing a block.
class PublishTimer {
 public:
  explicit PublishTimer(VcpuStatistics& statistics) : statistics_(statistics) {}
  /// It was not done.
  void forget() { counts_ = false; }
  ~PublishTimer() {
    if (!counts_) return;
    const u64 ns = u64((std::chrono::steady_clock::now() - begin_) / std::chrono::nanoseconds(1));
    if (ns <= kInterruptedNs) {
      statistics_.publish_ns.add(ns);
    } else {
      statistics_.publish_interrupted.add();
    }
  }
  PublishTimer(const PublishTimer&) = delete;
  PublishTimer& operator=(const PublishTimer&) = delete;

 private:
  VcpuStatistics& statistics_;
  bool counts_ = true;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// How many instructions there are up to the first that may write memory, that one included.
unsigned insns_to_store(const ir::Block& block, const ir::HelperTable& helpers) {
  unsigned insns = 0;
  for (const ir::Op& op : block.ops) {
    if (op.opcode == ir::Opcode::InsnStart) ++insns;
    const bool writes = op.opcode == ir::Opcode::Call ? (helpers.helpers[op.c.bits()].effects & ir::kHelperMemory) != 0
                                                      : (ir::info(op.opcode).effects & ir::kWrites) != 0;
    if (writes) return std::max(insns, 1u);
  }
  return insns;
}

}  // namespace

/// The bytes at a pc: a copy of the rest of its page, or of the beginning of that, and of the next page when asked for.
class RuntimeVcpu::PageBytes final : public target::GuestCode {
 public:
  enum class Use : u8 {
    Once,  ///< for one instruction, executed at once: as a processor fetches
    Kept,  ///< for a block: both pages stay marked as holding code while this lives, at least
  };
  PageBytes(RuntimeVcpu& vcpu, u64 pc, mem::RamPage page, Use use) : vcpu_(vcpu), pc_(pc), use_(use) {
    rest_ = u32(kPageSize) - offset();
    const u32 size = std::min(rest_, kMostBlocks);
    page_ = page;
    if (copy_page(page, offset(), first_.data(), size)) first_size_ = size;
  }
  /// Of code outside RAM: a few bytes from the bus.
  PageBytes(RuntimeVcpu& vcpu, u64 pc, u64 physical) : vcpu_(vcpu), pc_(pc), use_(Use::Once) {
    first_size_ = rest_ = u32(std::min<u64>(kPageSize - offset(), kLongestInsn));
    static_cast<void>(vcpu.address_space_.read(physical, {first_.data(), first_size_},
                                               {.requester = mem::MemTxAttrs::Requester::Cpu}));
  }
  ~PageBytes() override {
    if (second_marked_ != nullptr) second_marked_->end_translation();
  }

  std::span<const u8> first() const override { return {first_.data(), first_size_}; }

  /// A block of so many bytes may have ended because the copy did: then it now reaches to the end of the page.
  bool grow_for(u32 bytes) {
    if (first_size_ == rest_ || first_size_ == 0 || bytes + kLongestInsn <= first_size_) return false;
    copy_page(page_, offset(), first_.data(), rest_);
    first_size_ = rest_;
    return true;
  }

  std::span<const u8> second() override {
    if (asked_) return second_bytes();
    asked_ = true;
    const u64 va = align_down(pc_, kPageSize) + kPageSize;
    const L2Entry* entry = vcpu_.tlb_.translate(va, Access::Fetch, vcpu_.view());
    if (entry == nullptr) return {};
    second_.resize(kPageSize);
    if (entry->has(kL2Ram)) {
      second_page_ = mem::RamPage(entry->ram_page);
      if (!copy_page(second_page_, 0, second_.data(), kPageSize)) second_.clear();
    } else {
      second_is_device_ = true;
      static_cast<void>(vcpu_.address_space_.read(entry->target, {second_.data(), kLongestInsn},
                                                  {.requester = mem::MemTxAttrs::Requester::Cpu}));
    }
    return second_bytes();
  }

  mem::RamPage second_page() const { return second_page_; }
  /// A page could not be marked, so its bytes are not there.
  bool lock_was_taken() const { return lock_was_taken_; }
  bool second_is_device() const { return second_is_device_; }
  bool second_is_checked() const { return second_marked_ != nullptr && second_marked_->is_checked(); }
  /// The first `bytes` bytes at pc.
  std::span<const u8> source(u32 bytes) {
    if (bytes <= first_size_) return {first_.data(), bytes};
    EMU_CHECK(first_size_ == rest_ && bytes - first_size_ <= second_.size());
    joined_.assign(first_.begin(), first_.begin() + first_size_);
    joined_.insert(joined_.end(), second_.begin(), second_.begin() + (bytes - first_size_));
    return joined_;
  }

 private:
  std::span<const u8> second_bytes() const { return {second_.data(), second_.size()}; }
  bool copy_page(mem::RamPage page, u32 offset, u8* to, u64 bytes) {
    const mem::RamRef ram = vcpu_.shared_.memory->ram_block_of(page);
    if (use_ == Use::Kept) {
      // The mark comes before the bytes are read; our own write permission goes at once, that of others by request.
      if (!mark(page)) {
        lock_was_taken_ = true;
        return false;
      }
      vcpu_.tlb_.apply({TlbRequest::Kind::DropWrite, ram, ram->offset_of(page), 1});
    }
    mem::copy_from_ram(to, mem::host_address(*ram, ram->offset_of(page)) + offset, bytes);
    return true;
  }

  /// The mark of the first page is kept until a block of another page is translated: usually the next one is of the
  /// same.
  bool mark(mem::RamPage page) {
    PageMark& kept = vcpu_.marked_;
    if (kept.page == page) return true;
    PublishTimer timer(vcpu_.statistics_);
    PageCode* marked = vcpu_.shared_.blocks->begin_translation(page, &vcpu_.participant_);
    if (marked == nullptr) {
      timer.forget();
      return false;
    }
    if (asked_) {
      second_marked_ = marked;
    } else {
      if (kept.code != nullptr) kept.code->end_translation();
      kept = {page, marked};
    }
    return true;
  }

  RuntimeVcpu& vcpu_;
  const u64 pc_;
  const Use use_;
  PageCode* second_marked_ = nullptr;
  bool lock_was_taken_ = false;
  /// Nearly all blocks are shorter; copying is by single words.
  static constexpr u32 kMostBlocks = 256;
  u32 offset() const { return u32(pc_ & (kPageSize - 1)); }

  mem::RamPage page_ = mem::kNoRamPage;
  u32 rest_ = 0;  ///< of the page from pc on
  std::array<u8, kPageSize> first_;
  u32 first_size_ = 0;
  std::vector<u8> joined_;
  bool asked_ = false;
  bool second_is_device_ = false;
  mem::RamPage second_page_ = mem::kNoRamPage;
  std::vector<u8> second_;
};

/// IR of the code at request.pc into scratch_ir_. False: fetching faults there, and the fault is pending.
bool RuntimeVcpu::build_ir(const target::TranslateRequest& request, target::GuestCode& code, TranslateResult& result) {
  target::Translator& translator = *shared_.translator;
  result = translator.translate(request, code, builder_);
  if (result.status == TranslateResult::Status::FetchFault) {
    // Raised here unless asking for the second page has done so; if it does not fault any more, we come again.
    if (!cpu_.has_pending_fault()) tlb_.translate(result.fault_address, Access::Fetch, view());
    return false;
  }
#ifdef EMU_VERIFY_IR
  if (auto ok = ir::verify(scratch_ir_, translator.layout(), translator.helpers()); !ok) {
    log::error("block at {:#x}: {}\n{}", request.pc, ok.error().message(),
               ir::print(scratch_ir_, translator.layout(), translator.helpers()));
    EMU_CHECK(!"a front end made invalid IR");
  }
#endif
  return true;
}

/// The set of CPUs, and the memory back ends that the machine has, are there before the first block.
bool RuntimeVcpu::may_leave_out_locks() {
  if (!has_memory_alone_) {
    const std::vector<mem::RamRef> blocks = shared_.memory->ram_blocks();
    const auto is_shared = [](const mem::RamRef& block) { return block->shared_fd() >= 0; };
    has_memory_alone_ = shared_.has_one_vcpu && std::none_of(blocks.begin(), blocks.end(), is_shared);
  }
  return *has_memory_alone_ && shared_.techniques.plain_locks;
}

RuntimeVcpu::Lookup RuntimeVcpu::translate(const BlockKey& key, bool global) {
  const auto begin = std::chrono::steady_clock::now();
  target::Translator& translator = *shared_.translator;
  // The interpreter cannot tell the time in the middle of a block.
  const bool by_one = shared_.options.one_insn_per_block || (shared_.icount != nullptr && !shared_.backend);
  unsigned max_insns = by_one ? 1 : key.limit != 0 ? std::min(key.limit, kMaxInsns) : kMaxInsns;
  for (;;) {
    PageBytes bytes(*this, key.pc, key.page, PageBytes::Use::Kept);
    if (bytes.lock_was_taken()) return {Lookup::What::Alone};
    if (shared_.blocks->may_revive(key)) bytes.grow_for(u32(kPageSize));
    const BlockCache::Inserted revived = shared_.blocks->revive(key, bytes.first(), &participant_);
    if (revived.lock_was_taken) return {Lookup::What::Alone};
    if (revived.block != nullptr) return {Lookup::What::Block, revived.block, global};
    const BlockCache::Inserted cloned = clone(key);
    if (cloned.lock_was_taken) return {Lookup::What::Alone};
    if (cloned.block != nullptr) {
      statistics_.clones.add();
      statistics_.clone_ns.add(u64((std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1)));
      return {Lookup::What::Block, cloned.block, global};
    }
    TranslateResult result;
    target::TranslateRequest request{
        .pc = key.pc, .mode = key.mode, .max_insns = max_insns, .is_only_cpu = may_leave_out_locks(), .cpu = &cpu_};
    const u64 page_end = align_down(key.pc, kPageSize) + kPageSize;
    request.break_after = shared_.debug.next_break(key.pc, page_end).value_or(0);
    bool built = build_ir(request, bytes, result);
    if (built && bytes.grow_for(scratch_ir_.guest_bytes)) built = build_ir(request, bytes, result);
    // A breakpoint within an instruction ends nothing: the next one may.
    while (built && request.break_after != 0 && key.pc + scratch_ir_.guest_bytes > request.break_after) {
      request.break_after = shared_.debug.next_break(request.break_after, key.pc + scratch_ir_.guest_bytes).value_or(0);
      if (request.break_after != 0) built = build_ir(request, bytes, result);
    }
    // Stores to a checked page go unseen: whatever follows one in the code has to be compared again.
    const bool compares = marked_.code->is_checked();
    if (built && compares) {
      const unsigned most = insns_to_store(scratch_ir_, translator.helpers());
      if (most < scratch_ir_.guest_insns) {
        request.max_insns = most;
        built = build_ir(request, bytes, result);
      }
    }
    if (bytes.lock_was_taken()) return {Lookup::What::Alone};
    if (!built) {
      if (cpu_.has_pending_fault()) return {Lookup::What::Fault};
      continue;
    }
    auto block = std::make_unique<CodeBlock>();
    block->key = key;
    block->compares = compares;
    block->guest_bytes = scratch_ir_.guest_bytes;
    block->guest_insns = scratch_ir_.guest_insns;
    block->uses_fpu = scratch_ir_.uses_fpu;
    if (block->guest_bytes > block->first_bytes()) {
      if (bytes.second_is_device() || compares || bytes.second_is_checked()) return {Lookup::What::Alone};
      block->second_page = bytes.second_page();
      EMU_CHECK(block->straddles());
    }
    EMU_TRACE("translate_block", "vcpu {} pc {:#x} mode {:#x} bytes {} instructions {}", cpu_.index(), key.pc, key.mode,
              block->guest_bytes, block->guest_insns);
    const std::span<const u8> source = bytes.source(block->guest_bytes);
    if (log::enabled_at(log::Mask::InAsm | log::Mask::Op, key.pc)) log_translation(*block, source);

    if (!shared_.backend) {
      block->ir = std::make_unique<ir::Block>(scratch_ir_);
    } else {
      statistics_.dropped_ops.add(ir::optimize(scratch_ir_, translator.layout(), translator.helpers(),
                                               {.dead_code = shared_.techniques.dead_code}));
      block->guest_insns = scratch_ir_.guest_insns;  // none behind an exit that is always taken
      if (log::enabled_at(log::Mask::OpOpt, key.pc)) {
        log::write("op_opt: {:#x}\n{}\n", key.pc, ir::print(scratch_ir_, translator.layout(), translator.helpers()));
      }
      switch (compile(*block, source)) {
        case Compiled::Ok:
          break;
        case Compiled::NoRoom:
          return {Lookup::What::NoRoom};
        case Compiled::Shorter:
          EMU_CHECK(max_insns > 1);
          max_insns = std::max(1u, std::min(max_insns, block->guest_insns) / 2);
          continue;
      }
    }
    const BlockCache::Inserted done = [&] {
      PublishTimer timer(statistics_);
      const auto attempt = shared_.blocks->insert(std::move(block), source, &participant_,
                                                  shared_.backend ? &hot_chunk_ : nullptr, &cold_chunk_);
      if (attempt.block == nullptr) timer.forget();
      return attempt;
    }();
    if (done.lock_was_taken) return {Lookup::What::Alone};
    CodeBlock* inserted = done.block;
    if (inserted == nullptr) continue;  // the guest changed the code meanwhile
    if (shared_.perf.is_open() && inserted->hot != nullptr)
      shared_.perf.add(key.pc, key.mode, {inserted->hot, inserted->hot_size});
    statistics_.translations.add();
    statistics_.translated_insns.add(inserted->guest_insns);
    statistics_.translated_bytes.add(inserted->guest_bytes);
    statistics_.translate_ns.add(u64((std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1)));
    return {Lookup::What::Block, inserted, global};
  }
}

/// A copy of the block that another virtual page has, if it may be made: no breakpoint is to cut it or has cut the
/// original, and nobody wants to read about its translation.
BlockCache::Inserted RuntimeVcpu::clone(const BlockKey& key) {
  if (key.limit != 0 || !shared_.blocks->may_clone(key)) return {};
  if (!shared_.debug.points().breakpoints.empty()) return {};
  if (log::enabled_at(log::Mask::InAsm | log::Mask::Op | log::Mask::OpOpt | log::Mask::OutAsm, key.pc)) return {};
  if (!has_room()) return {};
  const BlockCache::Inserted done = shared_.blocks->clone(key, {hot_chunk_, cold_chunk_, shared_.thunks.lookup},
                                                          *shared_.translator, &participant_);
  if (done.block == nullptr) return done;
  EMU_TRACE("clone_block", "vcpu {} pc {:#x} mode {:#x} bytes {} instructions {}", cpu_.index(), key.pc, key.mode,
            done.block->guest_bytes, done.block->guest_insns);
  if (shared_.perf.is_open()) shared_.perf.add(key.pc, key.mode, {done.block->hot, done.block->hot_size});
  return done;
}

/// Whether there is some in both of this thread's chunks.
bool RuntimeVcpu::has_room() {
  CodeCache& code = *shared_.code;
  const auto refill = [&](CodeCache::Chunk& chunk, size_t least) {
    return (chunk.left() >= least && code.is_current(chunk)) || code.take_chunk(chunk);
  };
  return refill(hot_chunk_, kMinHotRoom) && refill(cold_chunk_, kMinColdRoom);
}

/// Host code of scratch_ir_ into this thread's chunks: hot code; stubs, the stale stub, the side table, the
/// relocations and the source.
RuntimeVcpu::Compiled RuntimeVcpu::compile(CodeBlock& block, std::span<const u8> source) {
  CodeCache& code = *shared_.code;
  for (int attempt = 0;; ++attempt) {
    if (!has_room()) return Compiled::NoRoom;
    // A block that straddles two pages is never linked to; its entry is 8 modulo 16, by which the link-miss thunk knows
    // that the jump cache is the way to it.
    const bool is_clonable =
        shared_.techniques.clones && !block.straddles() && !block.compares && block.key.limit == 0;
    const size_t skew = block.straddles() ? tcg::kUnlinkableEntry : 0;
    const ir::CodeSpan hot = code.span(hot_chunk_.next() + skew, hot_chunk_.left() - skew);
    const ir::CodeSpan cold = code.span(cold_chunk_.next(), cold_chunk_.left());
    const ir::CompileRequest request{.block = &scratch_ir_,
                                     .layout = &shared_.translator->layout(),
                                     .helpers = &shared_.translator->helpers(),
                                     .thunks = &shared_.thunks,
                                     .hot = hot,
                                     .cold = cold,
                                     .allow_same_page_links = !block.straddles(),
                                     .share_checks = shared_.techniques.check_sharing && !block.key.unshared,
                                     .fuse_flags = shared_.techniques.flag_fusion,
                                     .count = shared_.options.count,
                                     .icount = shared_.icount != nullptr,
                                     .relocatable = is_clonable};
    const ir::CompileStatus status = shared_.backend->compile(request, compiled_);
    if (status == ir::CompileStatus::TooComplex) return Compiled::Shorter;

    size_t cold_used = 0;
    const size_t data_bytes = compiled_.side_table.size() + compiled_.relocations.size() + source.size();
    bool fits = status == ir::CompileStatus::Ok &&
                compiled_.cold_size + kStubRoom + data_bytes + 16 <= cold.size;
    if (fits) {
      cold_used = compiled_.cold_size;
      const u8* stub = cold.exec + cold_used;
      const size_t stub_bytes = shared_.backend->emit_pc_stub(code.span(stub, cold.size - cold_used), block.key.pc,
                                                              shared_.thunks.lookup);
      fits = stub_bytes != 0;
      block.stale_stub = stub;
      cold_used += stub_bytes;
    }
    if (fits && block.compares) {
      // Every way in leads over the comparison: links go to the entry only, and jump caches hold it.
      const PageCode& page = *marked_.code;
      const u8* bytes = mem::host_address(page.ram(), page.ram().offset_of(page.page())) + block.page_offset();
      const u8* stub = cold.exec + cold_used;
      const size_t stub_bytes =
          shared_.backend->emit_checked_stub(code.span(stub, cold.size - cold_used), block.key.pc, bytes, source,
                                             hot.exec + compiled_.body, shared_.thunks.checked);
      fits = stub_bytes != 0 && cold_used + stub_bytes + data_bytes <= cold.size;
      cold_used += stub_bytes;
      if (fits) shared_.backend->redirect_entry(code.span(hot.exec + compiled_.entry, 8), stub);
    }
    if (!fits) {
      if (attempt == 2) return Compiled::Shorter;
      // One of the two was too small; a fresh pair is not, or the block is too long.
      hot_chunk_ = {};
      cold_chunk_ = {};
      continue;
    }
    const auto append = [&](std::span<const u8> data) {
      std::copy(data.begin(), data.end(), cold.write + cold_used);
      const std::span<const u8> copy{cold.exec + cold_used, data.size()};
      cold_used += data.size();
      return copy;
    };
    block.side_table = append(compiled_.side_table);
    append(compiled_.relocations);
    block.source = append(source);

    block.hot = hot.exec;
    block.cold = cold.exec;
    block.hot_size = compiled_.hot_size;
    block.cold_size = u32(cold_used);
    block.entry_offset = compiled_.entry;
    block.body_offset = compiled_.body;
    block.link_count = u32(compiled_.links.size());
    block.links = std::make_unique<Link[]>(block.link_count);
    for (u32 i = 0; i < block.link_count; ++i) {
      const ir::LinkSite& site = compiled_.links[i];
      block.links[i] = {.offset = site.offset,
                        .kind = site.kind,
                        .target_pc = site.target_pc,
                        .mode = site.mode,
                        .key = site.key,
                        .from = &block};
    }
    hot_chunk_.take(skew + block.hot_size);
    cold_chunk_.take(cold_used);
    statistics_.host_bytes_hot.add(compiled_.hot_size);
    statistics_.host_bytes_cold.add(cold_used);
    statistics_.side_table_bytes.add(compiled_.side_table.size());
    statistics_.relocation_bytes.add(compiled_.relocations.size());
    statistics_.host_insns.add(compiled_.host_insns);
    statistics_.home_stores.add(compiled_.home_stores);
    statistics_.helper_calls_emitted.add(compiled_.helper_calls);
    statistics_.fused_conditions.add(compiled_.fused_conditions);
    statistics_.shared_checks.add(compiled_.shared_checks);
    statistics_.plain_locks.add(scratch_ir_.plain_locks);
    if (log::enabled_at(log::Mask::OutAsm, block.key.pc)) {
      log::write("out_asm: {:#x}, {} + {} bytes\n{}\n", block.key.pc, block.hot_size, block.cold_size,
                 shared_.backend->disassemble({hot.exec, block.hot_size}, reinterpret_cast<u64>(hot.exec)));
    }
    return Compiled::Ok;
  }
}

/// " <start_kernel+0x1c>", or nothing.
std::string RuntimeVcpu::name_for_log(u64 address) {
  const std::string name = shared_.client.describe_address(address);
  return name.empty() ? name : " <" + name + ">";
}

void RuntimeVcpu::log_translation(const CodeBlock& block, std::span<const u8> source) {
  target::Translator& translator = *shared_.translator;
  if (log::enabled(log::Mask::InAsm)) {
    log::write("in_asm: vcpu {} {:#x}{} mode {:#x}\n{}\n", cpu_.index(), block.key.pc, name_for_log(block.key.pc),
               block.key.mode, translator.disassemble(source, block.key.pc, block.key.mode));
  }
  if (log::enabled(log::Mask::Op)) {
    log::write("op: {:#x}\n{}\n", block.key.pc, ir::print(scratch_ir_, translator.layout(), translator.helpers()));
  }
}

/// The instruction at pc by itself, interpreted: code that is not in RAM, and stores that hit their own block.
void RuntimeVcpu::interpret_alone(u64 pc) {
  statistics_.single_steps.add();
  if (shared_.icount != nullptr && shared_.icount->is_replaying()) shared_.rerun.alone_at = shared_.icount->now();
  const L2Entry* entry = tlb_.translate(pc, Access::Fetch, view());
  if (entry == nullptr) {
    handle_exit(ExitReason::Fault);
    return;
  }
  std::optional<PageBytes> bytes;
  if (entry->has(kL2Ram)) {
    bytes.emplace(*this, pc, mem::RamPage(entry->ram_page), PageBytes::Use::Once);
  } else {
    bytes.emplace(*this, pc, entry->target | (pc & (kPageSize - 1)));
  }
  TranslateResult result;
  if (!build_ir({.pc = pc, .mode = env_.mode, .max_insns = 1, .cpu = &cpu_}, *bytes, result)) {
    if (cpu_.has_pending_fault()) handle_exit(ExitReason::Fault);
    return;
  }
  bytes.reset();
  env_.fpu_live = 0;
  const ir::InterpretResult done = ir::interpret(scratch_ir_, shared_.translator->layout(),
                                                 shared_.translator->helpers(), env_, memory_);
  env_.icount_budget -= done.insns_done;
  env_.pc = done.pc;
  env_.exit_arg = done.arg;
  handle_exit(done.reason);
}

}  // namespace emu::tcg
