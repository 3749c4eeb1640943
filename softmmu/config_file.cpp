// SPDX-License-Identifier: Apache-2.0
#include "softmmu/config_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "softmmu/json_options.h"
#include "util/file.h"
#include "util/options.h"
#include "util/string.h"
#include "util/suggest.h"

namespace emu::softmmu {
namespace {

constexpr std::size_t kMostFileBytes = 1 << 20;

/// What sections and -set call the options whose keys are kept under another name.
struct Group {
  std::string_view name, option;
};
constexpr Group kGroups[] = {{"memory", "m"}, {"smp-opts", "smp"}, {"boot-opts", "boot"}, {"acpi", "acpitable"}};
constexpr std::string_view kSameName[] = {
    "machine", "accel", "device",   "global", "object", "drive",  "chardev", "mon",        "rtc",
    "name",    "action", "netdev",  "nic",    "net",    "add-fd", "msg",     "overcommit", "sandbox",
    "trace",   "icount", "audiodev", "fw_cfg", "smbios", "blockdev", "fsdev", "virtfs", "tpmdev"};

const OptionRow* row_of_group(std::string_view group) {
  std::string_view option = group;
  bool known = std::find(std::begin(kSameName), std::end(kSameName), group) != std::end(kSameName);
  for (const Group& other : kGroups) {
    if (other.name != group) continue;
    option = other.option;
    known = true;
  }
  if (!known) return nullptr;
  for (const OptionRow& row : option_rows()) {
    if (row.name == option) return &row;
  }
  return nullptr;
}

Error unknown_group(std::string_view group) {
  std::vector<std::string> names;
  for (const Group& other : kGroups) names.emplace_back(other.name);
  for (const std::string_view name : kSameName) {
    if (row_of_group(name) != nullptr) names.emplace_back(name);
  }
  std::string hint = did_you_mean(group, names);
  return Error(fmt::format("there is no group '{}'", group)).with_hint(std::move(hint));
}

/// One file, line by line.
class ConfigReader {
 public:
  explicit ConfigReader(const std::string& file) : file_(file) {}

  Result<void> read(std::string_view line) {
    line_++;
    line = trim(line);
    if (line.empty() || line.front() == '#') return {};
    if (line.front() == '[') return section(line);
    return pair(line);
  }
  std::vector<GivenOption> take() {
    finish();
    return std::move(given_);
  }

 private:
  template <typename... Args>
  tl::unexpected<Error> refuse(fmt::format_string<Args...> format, Args&&... args) const {
    return error(Error(fmt::format(format, std::forward<Args>(args)...)).within(where()));
  }
  std::string where() const { return fmt::format("{}:{}", file_, line_); }

  /// `[group]` or `[group "id"]`.
  Result<void> section(std::string_view line) {
    finish();
    if (line.back() != ']') return refuse("'{}' does not end in ']'", line);
    const std::string_view inside = trim(line.substr(1, line.size() - 2));
    const std::size_t space = inside.find_first_of(" \t");
    const std::string_view group = inside.substr(0, space);
    const OptionRow* row = row_of_group(group);
    if (row == nullptr) return error(unknown_group(group).within(where()));
    option_ = GivenOption{row, {}, where()};
    open_ = true;
    if (space == std::string_view::npos) return {};
    const std::string_view id = trim(inside.substr(space));
    if (id.size() < 3 || id.front() != '"' || id.back() != '"') return refuse("the id {} is not in quotes", id);
    add("id", id.substr(1, id.size() - 2));
    return {};
  }

  /// `key = "value"`.
  Result<void> pair(std::string_view line) {
    if (!open_) return refuse("'{}' stands in no section: [GROUP \"ID\"] begins one", line);
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) return refuse("'{}' is no KEY = \"VALUE\"", line);
    const std::string_view key = trim(line.substr(0, equals)), value = trim(line.substr(equals + 1));
    if (key.empty()) return refuse("'{}' has no key", line);
    if (value.size() < 2 || value.front() != '"' || value.back() != '"') {
      return refuse("the value of '{}' is not in quotes", key);
    }
    add(key, value.substr(1, value.size() - 2));
    return {};
  }

  void add(std::string_view key, std::string_view value) {
    if (!option_.value.empty()) option_.value += ',';
    option_.value += fmt::format("{}={}", key, escape_option_value(value));
  }
  void finish() {
    if (open_) given_.push_back(std::move(option_));
    open_ = false;
  }

  const std::string& file_;
  unsigned line_ = 0;
  bool open_ = false;
  GivenOption option_;
  std::vector<GivenOption> given_;
};

bool has_id(const GivenOption& option, const std::string& id) {
  auto parsed = Options::parse(option.value, {.json = json_pairs});
  return parsed && parsed->peek("id").value_or(parsed->peek("node-name").value_or("")) == id;
}

/// -set GROUP.ID.KEY=VALUE
Result<void> set_one(const std::string& text, std::vector<GivenOption>& given) {
  const std::size_t first = text.find('.'), equals = text.find('=');
  const std::size_t second = first == std::string::npos ? first : text.find('.', first + 1);
  if (second == std::string::npos || equals == std::string::npos || second > equals || second + 1 == equals) {
    return error(Error("it is not of the form GROUP.ID.KEY=VALUE").with_hint("write e.g. -set device.disk0.serial=1"));
  }
  const std::string group = text.substr(0, first), id = text.substr(first + 1, second - first - 1);
  const std::string key = text.substr(second + 1, equals - second - 1), value = text.substr(equals + 1);
  const OptionRow* row = row_of_group(group);
  if (row == nullptr) return error(unknown_group(group));
  for (GivenOption& option : given) {
    if (option.row != row || !has_id(option, id)) continue;
    if (option.value.starts_with('{')) {
      auto json = nlohmann::ordered_json::parse(option.value, nullptr, /*allow_exceptions=*/false);
      json[key] = value;  // it is an object: has_id() has read it
      // What was typed may be no UTF-8.
      option.value = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    } else {
      option.value += fmt::format(",{}={}", key, escape_option_value(value));
    }
    return {};
  }
  return error(
      Error(fmt::format("there is no {} '{}'", group, id)).with_hint("-set comes after the option it changes"));
}

}  // namespace

Result<std::vector<GivenOption>> parse_config(std::string_view text, const std::string& file) {
  ConfigReader reader(file);
  for (const std::string_view line : split(text, '\n')) EMU_TRY(reader.read(line));
  return reader.take();
}

Result<std::vector<GivenOption>> expand_config(std::vector<GivenOption> given) {
  std::vector<GivenOption> all;
  for (GivenOption& option : given) {
    if (option.row->opt == Opt::ReadConfig) {
      const std::string text = EMU_TRY(read_file(option.value, kMostFileBytes), "-readconfig");
      for (GivenOption& one : EMU_TRY(parse_config(text, option.value), "-readconfig")) all.push_back(std::move(one));
    } else if (option.row->opt == Opt::Set) {
      EMU_TRY(set_one(option.value, all), "-set " + option.value);
    } else {
      all.push_back(std::move(option));
    }
  }
  return all;
}

}  // namespace emu::softmmu
