// SPDX-License-Identifier: Apache-2.0
#include "softmmu/drive_options.h"

#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

namespace emu::softmmu {
namespace {

constexpr unsigned kScsiUnits = 7;

Result<DriveInterface> take_interface(Options& options) {
  const auto name = options.take("if");
  if (!name) return DriveInterface::Default;
  static constexpr std::pair<std::string_view, DriveInterface> kNames[] = {
      {"none", DriveInterface::None},     {"ide", DriveInterface::Ide},       {"scsi", DriveInterface::Scsi},
      {"virtio", DriveInterface::Virtio}, {"pflash", DriveInterface::Pflash},
  };
  for (const auto& [spelling, interface] : kNames) {
    if (*name == spelling) return interface;
  }
  for (const std::string_view later : {"floppy", "sd", "mtd", "xen"}) {
    if (*name == later) return error("if={}: there are no such devices", *name);
  }
  return error(
      Error(fmt::format("if={}: unsupported bus type", *name)).with_hint("one of ide, scsi, virtio, pflash, none"));
}

Result<Options::Pairs> json_node(std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return error("'{}' is not valid JSON", text);
  return block::flatten_json(json);
}

}  // namespace

Result<DriveRequest> parse_drive(std::string_view text) {
  Options options = EMU_TRY(Options::parse(text));
  DriveRequest request;
  request.option = fmt::format("-drive {}", text);
  request.interface = EMU_TRY(take_interface(options));
  request.index = EMU_TRY(options.take_u64("index"));
  request.bus = EMU_TRY(options.take_u64("bus"));
  request.unit = EMU_TRY(options.take_u64("unit"));
  if (request.index && (request.bus || request.unit)) return error("index cannot be used with bus and unit");
  if (const auto media = EMU_TRY(options.take_enum("media", {"disk", "cdrom"}))) request.is_cdrom = *media == 1;
  const std::string id = options.take("id").value_or("");
  if (options.has("addr"))
    return error(Error("addr= is gone").with_hint("write -device virtio-blk-pci,drive=ID,addr=..."));
  if (options.has("serial")) return error(Error("serial= is gone").with_hint("write -device ...,drive=ID,serial=..."));
  request.spec = EMU_TRY(block::take_drive_spec(options, request.is_cdrom));
  request.spec.settings.id = id;
  return request;
}

DriveRequest drive_of_file(const std::string& file, u64 index, bool is_cdrom, std::string option) {
  Options options;
  options.set("file", file);
  auto spec = block::take_drive_spec(options, is_cdrom);
  EMU_CHECK(spec.has_value());  // nothing in it can be wrong
  return {.index = index, .is_cdrom = is_cdrom, .spec = std::move(*spec), .option = std::move(option)};
}

Result<Options> parse_blockdev(std::string_view text) {
  Options options = EMU_TRY(Options::parse(text, {.implied_key = "driver", .json = json_node}));
  if (!options.has("driver")) return error("'driver' is missing");
  if (!options.has("node-name")) return error("'node-name' must be specified for the root node");
  return options;
}

namespace {

class Placer {
 public:
  Placer(const DriveLayout& layout, bool snapshot) : layout_(layout), snapshot_(snapshot) {}

  Result<PlacedDrive> place(DriveRequest request) {
    PlacedDrive drive;
    drive.interface = request.interface == DriveInterface::Default ? layout_.interface : request.interface;
    if (request.interface == DriveInterface::Default && drive.interface == DriveInterface::None) {
      return error(Error("this machine has no disks of its own").with_hint("say if=none and -device ...,drive=ID"));
    }
    drive.is_cdrom = request.is_cdrom;
    drive.option = std::move(request.option);
    drive.spec = std::move(request.spec);
    EMU_TRY(find_place(request, drive));
    if (drive.spec.settings.id.empty()) drive.spec.settings.id = make_id(drive);
    if (snapshot_ && drive.spec.node && !drive.spec.settings.read_only) take_snapshot(drive.spec);
    EMU_TRY(add_device(drive));
    return drive;
  }

 private:
  unsigned units(DriveInterface interface) const {
    if (interface == DriveInterface::Ide) return layout_.ide_units;
    return interface == DriveInterface::Scsi ? kScsiUnits : 0;
  }
  Result<void> find_place(const DriveRequest& request, PlacedDrive& drive) {
    constexpr u64 kMost = 1 << 16;
    for (const auto& number : {request.index, request.bus, request.unit}) {
      if (number.value_or(0) > kMost) return error("index, bus and unit are at most {}", kMost);
    }
    const unsigned per_bus = units(drive.interface);
    if (request.index) {
      drive.bus = per_bus == 0 ? 0 : unsigned(*request.index) / per_bus;
      drive.unit = per_bus == 0 ? unsigned(*request.index) : unsigned(*request.index) % per_bus;
    } else {
      drive.bus = unsigned(request.bus.value_or(0));
      drive.unit = unsigned(request.unit.value_or(0));
      // Without a unit the first that is free, on this bus or a later one.
      while (!request.unit && taken_.contains(std::tuple(drive.interface, drive.bus, drive.unit))) {
        drive.unit++;
        if (per_bus != 0 && drive.unit >= per_bus) {
          drive.unit = 0;
          drive.bus++;
        }
      }
    }
    if (per_bus != 0 && drive.unit >= per_bus) return error("unit {} too big (max is {})", drive.unit, per_bus - 1);
    if (drive.interface == DriveInterface::Ide && drive.bus >= layout_.ide_buses) {
      return error("machine has no place for this drive: {} buses of {} IDE drives", layout_.ide_buses, per_bus);
    }
    if (!taken_.insert(std::tuple(drive.interface, drive.bus, drive.unit)).second) {
      return error("drive with bus={}, unit={} (index={}) exists", drive.bus, drive.unit,
                   drive.bus * std::max(per_bus, 1u) + drive.unit);
    }
    return {};
  }
  std::string make_id(const PlacedDrive& drive) const {
    static constexpr const char* kNames[] = {"", "none", "ide", "scsi", "virtio", "pflash"};
    const char* const name = kNames[unsigned(drive.interface)];
    const unsigned per_bus = units(drive.interface);
    if (per_bus == 0) return fmt::format("{}{}", name, drive.unit);
    return fmt::format("{}{}-{}{}", name, drive.bus, drive.is_cdrom ? "cd" : "hd", drive.unit);
  }
  static void take_snapshot(block::DriveSpec& spec) {
    spec.snapshot = true;
    spec.node->set("read-only", "on");
  }
  static Result<void> add_device(PlacedDrive& drive) {
    const std::string& id = drive.spec.settings.id;
    switch (drive.interface) {
      case DriveInterface::Virtio:
        drive.driver = "virtio-blk-pci";
        drive.properties = {{"drive", id}};
        return {};
      case DriveInterface::Ide:
        drive.driver = drive.is_cdrom ? "ide-cd" : "ide-hd";
        drive.properties = {{"drive", id}, {"bus", fmt::format("ide.{}", drive.bus)}, {"unit", drive.unit}};
        return {};
      case DriveInterface::Scsi:
        return error(
            Error("if=scsi: this machine has no SCSI controller of its own")
                .with_hint(fmt::format("say if=none,id={0} and -device virtio-scsi-pci -device scsi-{1},drive={0}", id,
                                       drive.is_cdrom ? "cd" : "hd")));
      default:
        return {};
    }
  }

  const DriveLayout layout_;
  const bool snapshot_;
  std::set<std::tuple<DriveInterface, unsigned, unsigned>> taken_;
};

}  // namespace

Result<std::vector<PlacedDrive>> place_drives(std::vector<DriveRequest> requests, const DriveLayout& layout,
                                              bool snapshot) {
  Placer placer(layout, snapshot);
  std::vector<PlacedDrive> placed;
  for (DriveRequest& request : requests) {
    const std::string option = request.option;
    placed.push_back(EMU_TRY(placer.place(std::move(request)), option));
  }
  return placed;
}

}  // namespace emu::softmmu
