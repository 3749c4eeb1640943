// SPDX-License-Identifier: Apache-2.0
// Options whose argument has rules of its own: -smp, -m, -rtc base=, -device, -uuid.
#include <cctype>
#include <ctime>

#include "softmmu/json_options.h"
#include "softmmu/start_options.h"
#include "util/string.h"

namespace emu::softmmu {

Result<hw::CpuTopology> parse_smp(Options& options) {
  std::optional<u64> given[7];
  constexpr const char* kKeys[] = {"cpus", "maxcpus", "sockets", "dies", "clusters", "cores", "threads"};
  for (unsigned i = 0; i < 7; i++) {
    given[i] = EMU_TRY(options.take_u64(kKeys[i]));
    if (given[i] && *given[i] == 0) {
      return error(
          Error(fmt::format("{}=0: a machine has at least one", kKeys[i])).with_hint("write a number from 1 to 255"));
    }
    if (given[i] && *given[i] > kMostCpus) {
      return error(Error(fmt::format("{}={} is too many", kKeys[i], *given[i]))
                       .with_hint("machines here have at most 255 CPUs"));
    }
  }
  EMU_TRY(options.finish());
  auto& [cpus, maxcpus, sockets, dies, clusters, cores, threads] = given;
  if (clusters.value_or(1) != 1) return error("clusters={}: machines here have no clusters", *clusters);
  const u64 d = dies.value_or(1);
  const std::optional<u64> wanted = maxcpus ? maxcpus : cpus;
  u64 s = sockets.value_or(1), c = cores.value_or(1), t = threads.value_or(1);
  if (wanted) {
    if (!cores) {
      c = *wanted / (s * d * t);
    } else if (!sockets) {
      s = *wanted / (d * c * t);
    } else if (!threads) {
      t = *wanted / (s * d * c);
    }
  }
  const u64 product = s * d * c * t;
  const u64 most = wanted.value_or(product);
  const u64 count = cpus.value_or(most);
  if (product != most) {
    return error(Error(fmt::format("sockets ({}) * dies ({}) * cores ({}) * threads ({}) is not {} ({})", s, d, c, t,
                                   maxcpus ? "maxcpus" : "the number of CPUs", most))
                     .with_hint("leave one of them out to have it computed"));
  }
  if (count > most) return error("cpus={} is more than maxcpus={}", count, most);
  if (most > kMostCpus) return error("{} CPUs are too many: machines here have at most {}", most, kMostCpus);
  return hw::CpuTopology{unsigned(count), unsigned(most), unsigned(s), unsigned(d), unsigned(c), unsigned(t)};
}

Result<u64> parse_memory(Options& options) {
  const auto size = EMU_TRY(options.take_size("size", u64(1) << 20));
  const auto slots = EMU_TRY(options.take_u64("slots"));
  const auto most = EMU_TRY(options.take_size("maxmem", u64(1) << 20));
  EMU_TRY(options.finish());
  const u64 bytes = size && *size != 0 ? *size : u64(128) << 20;
  if (slots.value_or(0) != 0) return error("slots={}: memory cannot be plugged in yet", *slots);
  if (most.value_or(0) != 0 && *most != bytes) return error("maxmem=: memory cannot be plugged in yet");
  constexpr u64 kMost = u64(1) << 40;  // what the smallest CPU model's 40 physical address bits reach
  if (bytes > kMost) return error("{} bytes are too much: guests have at most 1 TiB", bytes);
  if (bytes % 4096 != 0) return error("{} bytes are not a whole number of 4 KiB pages", bytes);
  return bytes;
}

Result<accel::IcountOptions> parse_icount(std::string_view text) {
  Options options = EMU_TRY(Options::parse(text, {.implied_key = "shift"}));
  for (const char* key : {"rr", "rrfile", "rrsnapshot"}) {
    if (options.take(key)) return error("{}= is not supported: runs are neither recorded nor replayed", key);
  }
  accel::IcountOptions icount{.enabled = true};
  const auto shift = options.take("shift");
  icount.align = EMU_TRY(options.take_bool_or("align", false));
  icount.sleep = EMU_TRY(options.take_bool_or("sleep", true));
  EMU_TRY(options.finish());
  if (!shift) {
    return error(Error("shift= is missing")
                     .with_hint("an instruction takes 2^shift ns: shift=0 to shift=10, or shift=auto"));
  }
  if (*shift == "auto") {
    icount.adaptive = true;
    icount.shift = 3;
    if (icount.align) {
      return error("shift=auto and align=on exclude each other: one follows the host's time, the other waits for it");
    }
    if (!icount.sleep) {
      return error("shift=auto and sleep=off exclude each other: skipped time cannot follow the host's");
    }
    return icount;
  }
  const u64 number = EMU_TRY(parse_u64(*shift), "shift");
  if (number > accel::IcountOptions::kMostShift) {
    constexpr unsigned kMost = accel::IcountOptions::kMostShift;
    return error("shift={}: at most {}, which makes an instruction take 2^{} ns", number, kMost, kMost);
  }
  icount.shift = unsigned(number);
  if (icount.align && !icount.sleep) {
    return error("align=on and sleep=off exclude each other: one waits for time that the other skips");
  }
  return icount;
}

Result<i64> parse_rtc_date(std::string_view text) {
  const auto refuse = [text] {
    return error(Error(fmt::format("base: '{}' is not a date", text))
                     .with_hint("write utc, localtime, 2024-02-29 or 2024-02-29T12:30:00"));
  };
  std::tm tm{};
  const std::string copy(text);
  const char* end = ::strptime(copy.c_str(), copy.size() > 10 ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d", &tm);
  if (end == nullptr || *end != '\0') return refuse();
  const int day = tm.tm_mday;
  const std::time_t seconds = ::timegm(&tm);
  if (tm.tm_mday != day) return refuse();  // the 30th of February moved to March
  return i64(seconds);
}

Result<DeviceRequest> parse_device(std::string_view text) {
  DeviceRequest request;
  std::vector<std::pair<std::string, qom::PropertyValue>> all;
  if (text.starts_with('{')) {
    all = EMU_TRY(json_properties(text));
  } else {
    const Options options = EMU_TRY(Options::parse(text, {.implied_key = "driver"}));
    for (auto& [key, value] : options.pairs()) all.emplace_back(key, std::move(value));
  }
  for (auto& [key, value] : all) {
    if (key == "driver") {
      request.driver = value.text();
    } else if (key == "id") {
      request.id = value.text();
    } else if (key == "bus") {
      request.bus = value.text();
    } else {
      request.properties.emplace_back(key, std::move(value));
    }
  }
  if (request.driver.empty()) {
    return error(Error("the driver is missing").with_hint("write -device DRIVER,...; '-device help' lists drivers"));
  }
  return request;
}

namespace {

Result<std::string> parse_drives(const char* key, std::string letters) {
  constexpr std::string_view kDrives = "acdn";
  constexpr std::size_t kMostDrives = 3;  // what fits into the CMOS bytes
  std::string seen;
  for (const char letter : letters) {
    if (kDrives.find(letter) == std::string_view::npos || seen.find(letter) != std::string::npos) {
      return error(
          Error(fmt::format("{}={}: '{}' is no drive letter{}", key, letters, letter, seen.empty() ? "" : " here"))
              .with_hint("a is the floppy, c the disk, d the CD-ROM, n the network; each at most once"));
    }
    seen += letter;
  }
  if (letters.size() > kMostDrives) return error("{}={}: firmware takes at most three drives", key, letters);
  return letters;
}

}  // namespace

Result<void> parse_boot(Options& options, hw::BootOrder& boot) {
  constexpr u64 kMostMs = 0xffff;  // 16 bits are what firmware has for it
  if (options.asks_help()) return error("write [order=DRIVES][,once=DRIVES][,menu=on|off][,splash-time=MS]...");
  if (auto order = options.take("order")) boot.order = EMU_TRY(parse_drives("order", std::move(*order)));
  if (auto once = options.take("once")) boot.once = EMU_TRY(parse_drives("once", std::move(*once)));
  if (const auto menu = EMU_TRY(options.take_bool("menu"))) boot.menu = *menu;
  if (const auto strict = EMU_TRY(options.take_bool("strict"))) boot.strict = *strict;
  if (options.take("splash")) return error("splash=: pictures are not supported yet");
  if (const auto wait = EMU_TRY(options.take_u64("splash-time"))) {
    if (*wait > kMostMs) return error("splash-time={}: at most {} milliseconds", *wait, kMostMs);
    boot.menu_wait_ms = u32(*wait);
  }
  if (const auto wait = EMU_TRY(options.take_i64("reboot-timeout"))) {
    if (*wait < -1 || *wait > i64(kMostMs))
      return error("reboot-timeout={}: between 0 and {} milliseconds, or -1 for never", *wait, kMostMs);
    boot.reboot_timeout_ms = u32(*wait);
  }
  return options.finish();
}

Result<std::string> parse_uuid(std::string_view text) {
  constexpr std::string_view kShape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  bool good = text.size() == kShape.size();
  for (std::size_t i = 0; good && i < kShape.size(); i++) {
    good = kShape[i] == '-' ? text[i] == '-' : std::isxdigit(static_cast<unsigned char>(text[i])) != 0;
  }
  if (!good)
    return error(Error(fmt::format("'{}' is not a UUID", text)).with_hint("it looks like " + std::string(kShape)));
  return to_lower(text);
}

bool is_qtest(const StartOptions& options) { return !options.accels.empty() && options.accels.front().name == "qtest"; }

std::string target_of_program(std::string_view argv0) {
  const std::string_view base = argv0.substr(argv0.rfind('/') + 1);
  for (const std::string_view prefix : {"system-emu-", "qemu-system-"}) {
    if (base.starts_with(prefix)) return std::string(base.substr(prefix.size()));
  }
  return "";
}

}  // namespace emu::softmmu
