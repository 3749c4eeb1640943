// SPDX-License-Identifier: Apache-2.0
// isa-oracle: user instructions on the host's processor against ours, interpreted and as host code.
//
//   isa-oracle [--seed N] [--seconds N | --cases N | --sweeps N | --executions N]    as much as that; a sweep is
//                                                  every form once
//   isa-oracle --seed N --case N                        one again, with listings
//   --only NAME: rows of that name. --states N: states a case. --least N: executions that every row must have had,
//   --each N: executions that every form must have had; goes on with those that have not.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string_view>

#include "isa/generate.h"
#include "isa/guest.h"
#include "isa/native.h"
#include "target/x86/state.h"

namespace emu::isa {
namespace {

struct Options {
  u64 seed = 1;
  u64 cases = 0;
  u64 executions = 0;
  u64 sweeps = 0;
  u64 seconds = 10;
  u64 states = 6;
  u64 least = 1;
  u64 each = 0;
  std::optional<u64> one_case;
  std::string only;
  bool list = false;
};

class Comparison {
 public:
  Comparison(Options options, NativeRunner& native, GuestRunner& guest)
      : options_(std::move(options)), native_(native), guest_(guest), forms_(all_forms()) {
    if (!options_.only.empty()) {
      std::erase_if(forms_, [&](const Form& f) { return x86::all_rows()[f.row].name != options_.only; });
    }
    // In any order, so that a short run is a sample of everything.
    Random order(options_.seed, ~u64(0));
    for (size_t i = forms_.size(); i > 1; --i) std::swap(forms_[i - 1], forms_[order.below(i)]);
    if (options_.sweeps != 0) options_.cases = options_.sweeps * forms_.size() * 4 / 3 + 4;
    counts_.resize(forms_.size());
    tries_.resize(forms_.size());
    row_counts_.resize(x86::all_rows().size());
  }

  bool run() {
    if (forms_.empty()) return fmt::print("no such row\n"), false;
    if (options_.one_case) {
      run_case(*options_.one_case);
      return report();
    }
    const auto begin = std::chrono::steady_clock::now();
    const auto more = [&](u64 n) {
      if (options_.cases != 0) return n < options_.cases;
      if (options_.executions != 0) return executions_ < options_.executions;
      if (n % 64 != 0) return true;
      // A busy machine gets some more time for what is seldom.
      const auto time = std::chrono::steady_clock::now() - begin;
      return time < std::chrono::seconds(options_.seconds) ||
             (time < std::chrono::seconds(3 * options_.seconds) && is_short_of_something());
    };
    u64 n = 0;
    while (more(n)) run_case(n++);
    // Whole rounds of those that are short: states whose outcome is undefined were left out.
    for (u64 end = n + kExtraRounds * round(); n < end && options_.each != 0; ++n) {
      if (n % round() == 0 && !has_short_form()) break;
      if (n % 4 != 3 && is_short(form_of(n))) run_case(n);
    }
    return report();
  }

 private:
  static constexpr unsigned kShownPerRow = 2;
  static constexpr u64 kExtraRounds = 5000;
  static constexpr unsigned kVainTries = 40;  ///< a form that has never run by then cannot be written

  /// Case numbers in which each form comes at least once.
  u64 round() const { return forms_.size() * 4 / 3 + 4; }
  size_t form_of(u64 number) const { return size_t((number - number / 4) % forms_.size()); }
  bool is_short(size_t form) const {
    return counts_[form] < options_.each && (counts_[form] != 0 || tries_[form] < kVainTries);
  }
  bool has_short_form() const {
    for (size_t i = 0; i < forms_.size(); ++i) {
      if (is_short(i)) return true;
    }
    return false;
  }

  /// Three cases of one instruction, form after form, then a block.
  void run_case(u64 number) {
    Random random(options_.seed, number);
    ++cases_;
    const bool is_block = number % 4 == 3;
    const size_t form = form_of(number);
    if (!is_block) ++tries_[form];
    Case c;
    if (is_block) {
      c = make_block(forms_, random.one_in(3) ? Bits::k32 : Bits::k64, unsigned(2 + random.below(8)), random);
    } else {
      c = make_case(forms_[form], random);
    }
    if (c.code.empty()) return;
    const Passes passes = Passes(random.below(unsigned(Passes::kCount)));
    guest_.set_traps(c.simd_traps, c.x87_traps, c.avx512);
    if (!guest_.set_code(c.code, unsigned(c.insns.size()), c.bits, c.align_check ? u64(x86::kAC) : 0, passes)) {
      ++too_complex_;
      return;
    }
    native_.set_code(c.code, c.bits);
    fill_memory(pristine_, random);
    std::memcpy(native_.window(), pristine_.bytes, kWindowBytes);
    native_memory_ = guest_memory_ = pristine_;
    dirty_ = {};
    for (u64 i = 0; i < options_.states; ++i) {
      const State state = make_state(c, pristine_, random);
      if (!is_block && is_undefined(c.insns[0], state, pristine_)) continue;
      const bool ok = compare(c, state, number);
      ++executions_;
      ++by_passes_[unsigned(passes)];
      if (!is_block) {
        ++counts_[form];
        if (c.insns[0].row == &x86::all_rows()[forms_[form].row]) ++row_counts_[forms_[form].row];
      } else {
        for (const x86::Insn& insn : c.insns) {
          if (insn.row >= &x86::all_rows().front() && insn.row <= &x86::all_rows().back())
            ++row_counts_[size_t(insn.row - &x86::all_rows().front())];
        }
      }
      if (!ok) break;
    }
  }

  /// What the window's pages that can be written hold after a run; the window is as before again.
  void take_memory(Memory& to) {
    for (u64 page = 0; page < kWindowBytes; page += 4096) {
      if (page_kind(kWindow + page) != PageKind::ReadWrite) continue;
      u8* at = native_.window() + page;
      if (std::memcmp(at, pristine_.bytes + page, 4096) == 0) {
        if (dirty_[page >> 12]) std::memcpy(to.bytes + page, at, 4096);
        continue;
      }
      std::memcpy(to.bytes + page, at, 4096);
      std::memcpy(at, pristine_.bytes + page, 4096);
      dirty_[page >> 12] = true;
    }
  }

  /// Linux does not say whether a page of its own is present.
  static void hide_kernel(Outcome& o) {
    if (o.faulted && o.vector == x86::kPFv && o.address >= 0x7fff'ffff'f000) o.error &= ~1u;
  }

  Masks masks_of(const Case& c, const State& before, const Outcome& o) {
    Masks masks;
    masks.flags = x86::kArithmetic | x86::kDF | x86::kAC | x86::kID | x86::kNT;
    u64 undefined = 0, at_branches = 0;
    for (const x86::Insn& insn : c.insns) {
      Masks one;
      one.flags = ~u64(0);
      add_masks(insn, before, c.bits, one);
      if (o.faulted && o.pc == kCodeAt + insn.offset) {
        masks.address = one.address;
        masks.error = one.error;
        break;
      }
      if (!insn.row->has(x86::kMaybeZero)) undefined &= ~u64(insn.row->written);
      undefined |= ~one.flags;
      masks.gprs &= one.gprs;
      masks.ignored.insert(masks.ignored.end(), one.ignored.begin(), one.ignored.end());
      if (insn.row->has(x86::kBranch)) at_branches |= undefined;
    }
    if (!o.faulted && o.pc != kCodeAt + c.code.size()) undefined |= at_branches;  // one of them was taken
    masks.flags &= ~undefined;
    return masks;
  }

  /// When the host's kernel switches tasks in the middle of a case, AMD's processors lose what the x87 unit knows of its
  /// last instruction: a case with such instructions gets another chance.
  bool compare(const Case& c, const State& state, u64 number) {
    const bool has_x87 = std::any_of(c.insns.begin(), c.insns.end(), [](const x86::Insn& insn) {
      return insn.row->map == x86::kMapOne && insn.row->opcode >= 0xd8 && insn.row->opcode <= 0xdf;
    });
    for (unsigned attempts = has_x87 && !options_.one_case ? 2 : 0; attempts > 0; --attempts)
      if (compare_once(c, state, number, /*reports=*/false)) return true;
    return compare_once(c, state, number, /*reports=*/true);
  }

  bool compare_once(const Case& c, const State& state, u64 number, bool reports) {
    State native_state = state;
    Outcome native = native_.run(native_state);
    take_memory(native_memory_);
    hide_kernel(native);
    settle_gather_mask(c, native, native_state);
    if (native.faulted) ++faults_[native.vector];
    const Masks masks = masks_of(c, state, native);
    for (const Engine engine : {Engine::Interpreter, Engine::HostCode}) {
      State guest_state = state;
      const Tlb tlb = Tlb(executions_ % 3);
      Outcome guest = guest_.run(guest_state, engine, tlb);
      take_memory(guest_memory_);
      hide_kernel(guest);
      settle_gather_mask(c, guest, guest_state);
      if (guest.changes_mode || is_same_by_exception(c, native, native_state, guest, guest_state)) continue;
      const std::string what =
          differences(native, native_state, native_memory_, guest, guest_state, guest_memory_, masks, c.bits);
      if (what.empty()) continue;
      if (reports) fail(c, state, engine, what, number, native.pc);
      return false;
    }
    return true;
  }

  void fail(const Case& c, const State& state, Engine engine, const std::string& what, u64 number, u64 pc) {
    ++failures_;
    std::string names;
    for (const x86::Insn& insn : c.insns) names += (names.empty() ? "" : "; ") + std::string(insn.row->name);
    const std::string key = c.insns.size() == 1 ? names : "(blocks)";
    if (++failed_rows_[key] > kShownPerRow && !options_.one_case) return;
    fmt::print("case {} ({} bits{}) {}: {}\n  code:", number, c.bits == Bits::k64 ? 64 : 32,
               c.align_check ? ", AC" : "", names, name(engine));
    for (const u8 byte : c.code) fmt::print(" {:02x}", byte);
    fmt::print("\n  the host at {:#x}; host / ours:\n{}", pc, what);
    if (options_.one_case) {
      fmt::print("state before:\n{}{}\n", describe(state, c.bits), guest_.listing());
    } else {
      fmt::print("  again: isa-oracle --seed {} --states {}{} --case {}\n", options_.seed, options_.states,
                 options_.only.empty() ? "" : " --only '" + options_.only + "'", number);
    }
    std::fflush(stdout);
  }

  /// A row that can be compared has not been executed often enough.
  bool is_short_of_something() const {
    if (!options_.only.empty()) return false;
    for (size_t i = 0; i < row_counts_.size(); ++i) {
      if (row_counts_[i] < options_.least && !cannot_compare(x86::all_rows()[i], Bits::k64)) return true;
    }
    return false;
  }

  bool report() {
    u64 rows = 0, covered = 0, written = 0;
    for (const u64 n : counts_) written += n != 0;
    std::string uncovered;
    std::map<std::string, std::string> excluded;
    std::map<std::string, unsigned> lacking;
    for (size_t i = 0; i < row_counts_.size(); ++i) {
      const x86::Row& row = x86::all_rows()[i];
      if (const char* why = cannot_compare(row, Bits::k64)) {
        excluded[why] += std::string(excluded[why].empty() ? "" : ", ") + row.name;
        if (const char* feature = lacking_feature(row)) ++lacking[feature];
        continue;
      }
      ++rows;
      if (row_counts_[i] >= options_.least) {
        ++covered;
      } else {
        uncovered += fmt::format(" {} ({:#x}/{:#x}, {} times)", row.name, row.map, row.opcode, row_counts_[i]);
      }
    }
    fmt::print("seed {}: {} cases, {} executions, {} of {} forms, {} of {} rows, {} too complex\n", options_.seed,
               cases_, executions_, written, forms_.size(), covered, rows, too_complex_);
    fmt::print("exceptions:");
    for (const auto& [vector, count] : faults_) fmt::print(" {}: {}", vector, count);
    fmt::print("\n");
    fmt::print("passes:");
    for (unsigned i = 0; i < by_passes_.size(); ++i) fmt::print(" {}: {}", name(Passes(i)), by_passes_[i]);
    fmt::print("\n");
    for (const auto& [feature, count] : lacking) fmt::print("not on this host: {}, {} rows\n", feature, count);
    if (options_.list) {
      for (const auto& [why, names] : excluded) fmt::print("not compared, {}: {}\n", why, names);
    }
    if (failures_ != 0) {
      fmt::print("{} failures:", failures_);
      for (const auto& [row, count] : failed_rows_) fmt::print(" {} {},", row, count);
      fmt::print("\n");
    }
    const bool forms_short = options_.each != 0 && report_forms();
    const bool partial = options_.one_case || !options_.only.empty();
    if (!uncovered.empty() && !partial) fmt::print("fewer than {} executions:{}\n", options_.least, uncovered);
    return failures_ == 0 && !forms_short && (partial || uncovered.empty());
  }

  /// Prints how often forms have run; true when one that can be written is short.
  bool report_forms() const {
    u64 fewest = ~u64(0), never = 0;
    std::string some_short;
    std::map<std::string_view, unsigned> unwritten;
    for (size_t i = 0; i < forms_.size(); ++i) {
      const x86::Row& row = x86::all_rows()[forms_[i].row];
      if (is_short(i)) some_short += fmt::format(" {} ({} times)", row.name, counts_[i]);
      if (counts_[i] != 0) {
        fewest = std::min(fewest, counts_[i]);
      } else {
        ++never;
        ++unwritten[row.name];
      }
    }
    fmt::print("each form at least {} times but {} that cannot be written or are wholly undefined:", fewest, never);
    for (const auto& [name, count] : unwritten) fmt::print(" {} {},", name, count);
    fmt::print("\n");
    if (!some_short.empty()) fmt::print("forms with fewer than {} executions:{}\n", options_.each, some_short);
    return !some_short.empty();
  }

  Options options_;
  NativeRunner& native_;
  GuestRunner& guest_;
  std::vector<Form> forms_;
  std::vector<u64> counts_, row_counts_;
  std::vector<unsigned> tries_;  ///< cases that each form has had
  std::map<unsigned, u64> faults_;
  std::array<u64, unsigned(Passes::kCount)> by_passes_{};  ///< executions
  std::map<std::string, u64> failed_rows_;
  u64 cases_ = 0, executions_ = 0, failures_ = 0, too_complex_ = 0;
  std::array<bool, kWindowPages> dirty_{};  ///< since this case began: the copies may differ from pristine_
  Memory pristine_, native_memory_, guest_memory_;
};

std::optional<Options> parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--list") {
      o.list = true;
      continue;
    }
    if (i + 1 == argc) return std::nullopt;
    const char* value = argv[++i];
    const u64 number = std::strtoull(value, nullptr, 0);
    if (name == "--seed") {
      o.seed = number;
    } else if (name == "--cases") {
      o.cases = number;
    } else if (name == "--sweeps") {
      o.sweeps = number;
    } else if (name == "--executions") {
      o.executions = number;
    } else if (name == "--seconds") {
      o.seconds = number;
    } else if (name == "--states") {
      o.states = number;
    } else if (name == "--least") {
      o.least = number;
    } else if (name == "--each") {
      o.each = number;
    } else if (name == "--case") {
      o.one_case = number;
    } else if (name == "--only") {
      o.only = value;
    } else {
      return std::nullopt;
    }
  }
  return o;
}

int run(int argc, char** argv) {
  const auto options = parse(argc, argv);
  if (!options) {
    fmt::print(stderr,
               "usage: isa-oracle [--seed N] [--seconds N | --cases N | --sweeps N | --executions N | --case N] "
               "[--states N] [--least N] [--each N] "
               "[--only ROW] [--list]\n");
    return 2;
  }
  auto native = NativeRunner::create();
  if (!native) return fmt::print(stderr, "isa-oracle: {}\n", native.error().message()), 1;
  auto guest = GuestRunner::create(native->window(), native->code(), host_has_avx512());
  if (!guest) return fmt::print(stderr, "isa-oracle: {}\n", guest.error().message()), 1;
  return Comparison(*options, *native, **guest).run() ? 0 : 1;
}

}  // namespace
}  // namespace emu::isa

int main(int argc, char** argv) { return emu::isa::run(argc, argv); }
