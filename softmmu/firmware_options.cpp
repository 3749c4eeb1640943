// SPDX-License-Identifier: Apache-2.0
#include "softmmu/firmware_options.h"

#include <algorithm>
#include <span>

#include "softmmu/start_options.h"
#include "util/file.h"
#include "util/log.h"
#include "util/string.h"

namespace emu::softmmu {
namespace {

constexpr std::size_t kMostFileBytes = 64 << 20;
constexpr std::size_t kMostName = 55;  // a file's name in fw_cfg, without its terminating zero

// -smbios
// --------------------------------------------------------------------------------------------------------------

struct Key {
  std::string_view name;
  u64 most = 0;  ///< of a number; 0: a text
};
constexpr Key kBios[] = {{"vendor"}, {"version"}, {"date"}};
constexpr Key kSystem[] = {{"manufacturer"}, {"product"}, {"version"}, {"serial"}, {"sku"}, {"family"}};
constexpr Key kBoard[] = {{"manufacturer"}, {"product"}, {"version"}, {"serial"}, {"asset"}, {"location"}};
constexpr Key kChassis[] = {{"manufacturer"}, {"version"}, {"serial"}, {"asset"}, {"sku"}};
constexpr Key kProcessor[] = {{"sock_pfx"},          {"manufacturer"},          {"version"},
                              {"serial"},            {"asset"},                 {"part"},
                              {"max-speed", 0xffff}, {"current-speed", 0xffff}, {"processor-id", ~u64(0)}};
constexpr Key kPort[] = {
    {"internal_reference"}, {"external_reference"}, {"connector_type", 0xff}, {"port_type", 0xff}};
constexpr Key kSlot[] = {{"slot_designation"},          {"slot_type", 0xff},     {"slot_data_bus_width", 0xff},
                         {"current_usage", 0xff},       {"slot_length", 0xff},   {"slot_id", 0xffff},
                         {"slot_characteristics1", 0xff}, {"slot_characteristics2", 0xff}};
constexpr Key kMemoryDevice[] = {{"loc_pfx"}, {"bank"}, {"manufacturer"}, {"serial"},
                                 {"asset"},   {"part"}, {"speed", 0xffff}};

std::span<const Key> keys_of(u64 type) {
  switch (type) {
    case 0:
      return kBios;
    case 1:
      return kSystem;
    case 2:
      return kBoard;
    case 3:
      return kChassis;
    case 4:
      return kProcessor;
    case 8:
      return kPort;
    case 9:
      return kSlot;
    case 17:
      return kMemoryDevice;
    default:
      return {};
  }
}

Result<void> take_fields(Options& options, std::span<const Key> keys, hw::SmbiosOverrides::Fields& fields) {
  for (const Key& key : keys) {
    if (key.most == 0) {
      if (auto text = options.take(key.name)) fields[std::string(key.name)] = std::move(*text);
    } else if (const auto number = EMU_TRY(options.take_u64(key.name))) {
      if (*number > key.most) return error("{}={}: at most {}", key.name, *number, key.most);
      fields[std::string(key.name)] = fmt::format("{}", *number);
    }
  }
  return {};
}

/// What the BIOS and the system have besides texts and numbers.
Result<void> take_special_fields(Options& options, u64 type, hw::SmbiosOverrides::Fields& fields) {
  if (type == 0) {
    if (const auto uefi = EMU_TRY(options.take_bool("uefi"))) fields["uefi"] = *uefi ? "on" : "off";
    if (auto release = options.take("release")) {
      const auto parts = split(*release, '.');
      const auto is_byte = [](std::string_view part) {
        const auto number = parse_u64(part);
        return number && *number <= 255 && part.find_first_not_of("0123456789") == std::string_view::npos;
      };
      if (parts.size() != 2 || !is_byte(parts[0]) || !is_byte(parts[1])) {
        return error("release={}: write MAJOR.MINOR, each 0 to 255", *release);
      }
      fields["release"] = std::move(*release);
    }
  }
  if (type == 1) {
    if (const auto uuid = options.take("uuid")) fields["uuid"] = EMU_TRY(parse_uuid(*uuid), "uuid");
  }
  return {};
}

Result<void> take_oem_strings(Options& options, hw::SmbiosOverrides& smbios) {
  constexpr std::size_t kMostStrings = 255;
  for (std::string& value : options.take_all("value")) smbios.oem_strings.push_back(std::move(value));
  for (const std::string& path : options.take_all("path")) {
    smbios.oem_strings.push_back(EMU_TRY(read_file(path, hw::SmbiosOverrides::kMostBytes), "path"));
  }
  if (smbios.oem_strings.size() > kMostStrings) return error("type=11: at most {} strings", kMostStrings);
  for (const std::string& value : smbios.oem_strings) {
    if (value.empty()) return error("type=11: a string is empty, which would end the list");
  }
  return {};
}

std::size_t size_of(const hw::SmbiosOverrides& smbios) {
  std::size_t total = 0;
  const auto add = [&](const hw::SmbiosOverrides::Fields& fields) {
    total += 32;
    for (const auto& [key, value] : fields) total += value.size() + 1;
  };
  for (const auto& [type, fields] : smbios.types) add(fields);
  for (const auto& fields : smbios.ports) add(fields);
  for (const auto& fields : smbios.slots) add(fields);
  for (const std::string& value : smbios.oem_strings) total += value.size() + 1;
  for (const std::vector<u8>& raw : smbios.raw) total += raw.size();
  return total;
}

// -acpitable
// -----------------------------------------------------------------------------------------------------------

// The header that tables have, ACPI 6.4 §5.2.6
constexpr std::size_t kHeaderBytes = 36, kLengthAt = 4, kRevisionAt = 8, kOemIdAt = 10, kOemTableIdAt = 16,
                      kOemRevisionAt = 24, kCreatorIdAt = 28, kCreatorRevisionAt = 32;
/// What all tables of the user together may have: the machine has 128 KiB for its own and these.
constexpr std::size_t kMostTableBytes = 64 << 10;

Result<void> put_text(Options& options, std::string_view key, std::size_t at, std::size_t bytes, char pad,
                      std::vector<u8>& table) {
  const auto text = options.take(key);
  if (!text) return {};
  if (text->size() > bytes) return error("{}={}: at most {} characters", key, *text, bytes);
  for (std::size_t i = 0; i < bytes; i++) table[at + i] = u8(i < text->size() ? (*text)[i] : pad);
  return {};
}

Result<void> put_number(Options& options, std::string_view key, std::size_t at, unsigned bytes,
                        std::vector<u8>& table) {
  const auto number = EMU_TRY(options.take_u64(key));
  if (!number) return {};
  if (*number >> (8 * bytes) != 0) return error("{}={}: at most {}", key, *number, (u64(1) << (8 * bytes)) - 1);
  for (unsigned i = 0; i < bytes; i++) table[at + i] = u8(*number >> (8 * i));
  return {};
}

}  // namespace

Result<hw::FirmwareFile> parse_fw_cfg(Options& options) {
  hw::FirmwareFile made;
  made.name = EMU_TRY(options.take_required("name"));
  const auto path = options.take("file"), text = options.take("string");
  if (options.take("gen_id")) return error("gen_id=: there are no objects that make such files");
  EMU_TRY(options.finish());
  if (made.name.empty()) return error("name= is empty");
  if (made.name.size() > kMostName) return error("name={}: at most {} characters", made.name, kMostName);
  if (path.has_value() == text.has_value()) return error("name={}: either file= or string= is needed", made.name);
  const std::string data = path ? EMU_TRY(read_file(*path, kMostFileBytes)) : *text;
  made.data.assign(data.begin(), data.end());
  if (!made.name.starts_with("opt/")) {
    log::warn("-fw_cfg name={}: names of users' files should begin with 'opt/'", made.name);
  }
  return made;
}

Result<void> parse_smbios(Options& options, hw::SmbiosOverrides& smbios) {
  if (const auto path = options.take("file")) {
    if (options.has("type")) return error("file= and type= exclude each other");
    EMU_TRY(options.finish());
    const std::string bytes = EMU_TRY(read_file(*path, hw::SmbiosOverrides::kMostBytes));
    for (std::vector<u8>& raw : EMU_TRY(hw::split_smbios(bytes), "'" + *path + "'"))
      smbios.raw.push_back(std::move(raw));
    return {};
  }
  const auto type = EMU_TRY(options.take_u64("type"));
  if (!type) return error("type= or file= is missing");
  if (*type == 11) {
    EMU_TRY(take_oem_strings(options, smbios));
    return options.finish();
  }
  const std::span<const Key> keys = keys_of(*type);
  if (keys.empty()) {
    return error(Error(fmt::format("type={}: structures of this type have no fields to set", *type))
                     .with_hint("there are 0, 1, 2, 3, 4, 8, 9, 11 and 17; file= takes whole structures"));
  }
  hw::SmbiosOverrides::Fields one;
  hw::SmbiosOverrides::Fields& fields = *type == 8 || *type == 9 ? one : smbios.types[u8(*type)];
  EMU_TRY(take_fields(options, keys, fields));
  EMU_TRY(take_special_fields(options, *type, fields));
  EMU_TRY(options.finish());
  if (*type == 8) smbios.ports.push_back(std::move(one));
  if (*type == 9) smbios.slots.push_back(std::move(one));
  return {};
}

Result<std::vector<u8>> parse_acpi_table(Options& options) {
  const auto whole = options.take("file"), data = options.take("data");
  if (whole.has_value() == data.has_value()) {
    return error("either file=, with the table's header, or data=, without, is needed");
  }
  std::vector<u8> table;
  if (!whole) {
    constexpr std::string_view kDefault = "QEMU";  // as QEMU's guests see
    table.assign(kHeaderBytes, 0);
    std::copy(kDefault.begin(), kDefault.end(), table.begin());
    std::copy(kDefault.begin(), kDefault.end(), table.begin() + kOemIdAt);
    std::copy(kDefault.begin(), kDefault.end(), table.begin() + kOemTableIdAt);
    std::copy(kDefault.begin(), kDefault.end(), table.begin() + kCreatorIdAt);
    table[kRevisionAt] = table[kOemRevisionAt] = table[kCreatorRevisionAt] = 1;
  }
  const std::string files = whole ? *whole : *data;
  for (const std::string_view path : split(files, ':')) {
    const std::string bytes = EMU_TRY(read_file(std::string(path), kMostTableBytes));
    table.insert(table.end(), bytes.begin(), bytes.end());
  }
  if (table.size() < kHeaderBytes)
    return error("file={}: shorter than a table's header of {} bytes", files, kHeaderBytes);
  if (const auto signature = options.peek("sig"); signature && signature->size() != 4) {
    return error("sig={}: a signature has four characters", *signature);
  }
  EMU_TRY(put_text(options, "sig", 0, 4, ' ', table));
  EMU_TRY(put_number(options, "rev", kRevisionAt, 1, table));
  EMU_TRY(put_text(options, "oem_id", kOemIdAt, 6, '\0', table));
  EMU_TRY(put_text(options, "oem_table_id", kOemTableIdAt, 8, '\0', table));
  EMU_TRY(put_number(options, "oem_rev", kOemRevisionAt, 4, table));
  EMU_TRY(put_text(options, "asl_compiler_id", kCreatorIdAt, 4, '\0', table));
  EMU_TRY(put_number(options, "asl_compiler_rev", kCreatorRevisionAt, 4, table));
  EMU_TRY(options.finish());
  for (unsigned i = 0; i < 4; i++) table[kLengthAt + i] = u8(table.size() >> (8 * i));
  return table;
}

Result<void> apply_firmware_options(const std::vector<FirmwareOption>& options, hw::BoardConfig& config) {
  std::size_t table_bytes = 0;
  for (const FirmwareOption& option : options) {
    static constexpr const char* kNames[] = {"fw_cfg", "smbios", "acpitable"};
    const std::string where = fmt::format("-{} {}", kNames[unsigned(option.kind)], option.text);
    const bool is_file = option.kind == FirmwareOption::Kind::FwCfg;
    Options parsed = EMU_TRY(Options::parse(option.text, {.implied_key = is_file ? "name" : ""}), where);
    if (option.kind == FirmwareOption::Kind::FwCfg) {
      hw::FirmwareFile file = EMU_TRY(parse_fw_cfg(parsed), where);
      for (const hw::FirmwareFile& other : config.firmware_files) {
        if (other.name == file.name) return error("{}: there is a file of that name already", where);
      }
      config.firmware_files.push_back(std::move(file));
    } else if (option.kind == FirmwareOption::Kind::Smbios) {
      EMU_TRY(parse_smbios(parsed, config.smbios), where);
      if (size_of(config.smbios) > hw::SmbiosOverrides::kMostBytes) {
        return error("{}: all that is given has more than {} bytes", where, hw::SmbiosOverrides::kMostBytes);
      }
    } else {
      config.acpi_tables.push_back(EMU_TRY(parse_acpi_table(parsed), where));
      table_bytes += config.acpi_tables.back().size();
      if (table_bytes > kMostTableBytes) return error("{}: all tables together have more than 64 KiB", where);
    }
  }
  return {};
}

}  // namespace emu::softmmu
