// SPDX-License-Identifier: Apache-2.0
#include "hw/scsi/scsi_bus.h"

#include <algorithm>
#include <bit>
#include <cerrno>

#include "util/log.h"

namespace emu::hw {

using namespace scsi;

namespace {
constexpr u32 kCdBlock = 2048, kAutoGranularity = ~0u;
}

// Devices. -----------------------------------------------------------------------------------------------------------

void ScsiDevice::describe(TypeInfo<ScsiDevice>& type) {
  type.category(Category::Storage);
  type.plugs_into(ScsiBus::kTypeName);
  type.link("drive", &ScsiDevice::drive_, block::BlockBackend::kContainer, "block device behind it");
  type.property("channel", &ScsiDevice::channel_, "channel on its bus; 0 if not given");
  type.property("scsi-id", &ScsiDevice::target_, "target on its bus; the first free one if not given");
  type.property("lun", &ScsiDevice::lun_, "logical unit of the target; 0 if not given");
  type.property("bootindex", &ScsiDevice::boot_index_, "place in the firmware's boot order");
  type.property("vendor", &ScsiDevice::vendor_, "up to 8 characters");
  type.property("product", &ScsiDevice::product_, "up to 16 characters");
  type.property("ver", &ScsiDevice::version_, "revision, up to 4 characters");
  type.property("serial", &ScsiDevice::serial_, "serial number, up to 36 characters");
  type.property("device_id", &ScsiDevice::device_id_, "identifier of page 83h; the serial if not given");
  type.property("wwn", &ScsiDevice::wwn_, "world wide name; 0: none");
  type.property("port_wwn", &ScsiDevice::port_wwn_, "world wide name of the port; 0: none");
  type.property("port_index", &ScsiDevice::port_index_, "relative port; 0: none");
  type.property("write-cache", &ScsiDevice::write_cache_wish_, "whether the guest is told of a write cache");
  using D = ScsiDevice;
  block::add_error_properties(type, &D::on_write_error_, &D::on_read_error_);
  type.property("share-rw", &D::share_rw_, "others may write to the image, too");
  type.saved(1, &ScsiDevice::fields, &ScsiDevice::after_load);
}

void ScsiHd::describe(TypeInfo<ScsiHd>& type) {
  type.doc("SCSI hard disk");
  type.set_default("product", "QEMU HARDDISK");
  type.property("logical_block_size", &ScsiHd::logical_block_, "bytes, a power of two from 512 to 32768");
  type.property("physical_block_size", &ScsiHd::physical_block_, "bytes, a power of two, not below the logical size");
  type.property("rotation_rate", &ScsiHd::rotation_rate_, "revolutions per minute; 1: solid state; 0: not said");
  type.property("removable", &ScsiHd::removable_, "whether the medium can be taken out");
  type.property("min_io_size", &ScsiHd::min_io_, "bytes");
  type.property("opt_io_size", &ScsiHd::opt_io_, "bytes");
  type.property("discard_granularity", &ScsiHd::discard_granularity_, "bytes; the image's unit if not given");
  type.property("max_unmap_size", &ScsiHd::max_unmap_, "bytes of one UNMAP");
  type.property("max_io_size", &ScsiHd::max_io_, "bytes of one transfer");
  type.property("dpofua", &ScsiHd::dpofua_, "whether forced unit access is announced");
}

void ScsiCd::describe(TypeInfo<ScsiCd>& type) {
  type.doc("SCSI CD-ROM drive");
  type.set_default("product", "QEMU CD-ROM");
}

/// A drive with nothing in it and nothing to put in.
class ScsiDevice::EmptyDrive final : public block::BlockBackend {
 public:
  explicit EmptyDrive(EventLoop* loop)
      : own_loop_(loop == nullptr ? std::make_unique<EventLoop>() : nullptr),
        loop_(loop != nullptr ? loop : own_loop_.get()) {}
  Result<void> attach(block::BlockFrontend&) override { return {}; }
  void detach(block::BlockFrontend&) override {}
  bool has_medium() const override { return false; }
  u64 bytes() const override { return 0; }
  bool is_read_only() const override { return true; }
  bool has_write_cache() const override { return false; }
  void set_write_cache(bool) override {}
  bool can_discard() const override { return false; }
  block::BlockLimits limits() const override { return {}; }
  std::string filename() const override { return {}; }
  EventLoop& loop() const override { return *loop_; }
  Result<void> move_to(EventLoop&) override { return {}; }
  Task<block::IoStatus> read(u64, block::IoVec) override { co_return ENOMEDIUM; }
  Task<block::IoStatus> write(u64, block::IoVec, block::IoFlags) override { co_return ENOMEDIUM; }
  Task<block::IoStatus> write_zeroes(u64, u64, block::IoFlags) override { co_return ENOMEDIUM; }
  Task<block::IoStatus> discard(u64, u64) override { co_return ENOMEDIUM; }
  Task<block::IoStatus> flush() override { co_return ENOMEDIUM; }

 private:
  std::unique_ptr<EventLoop> own_loop_;
  EventLoop* loop_;
};

ScsiDevice::~ScsiDevice() = default;

ScsiBus& ScsiDevice::scsi_bus() const {
  auto* scsi = dynamic_cast<ScsiBus*>(bus());
  EMU_CHECK(scsi != nullptr);
  return *scsi;
}

Result<void> ScsiDevice::check_config() const {
  const std::string& what = type().name();
  if (vendor_.size() > 8 || product_.size() > 16 || version_.size() > 4 || serial_.size() > 36) {
    return error("{}: vendor, product, ver or serial is too long (8, 16, 4 and 36 characters)", what);
  }
  if (!std::has_single_bit(logical_block_) || logical_block_ < 512 || logical_block_ > 32768 ||
      !std::has_single_bit(physical_block_) || physical_block_ < logical_block_ || physical_block_ > (1u << 21)) {
    return error("{}: block sizes must be powers of two, the logical one from 512 to 32768 and not above the physical",
                 what);
  }
  const auto is_whole = [&](u64 bytes) { return bytes % logical_block_ == 0; };
  if (!is_whole(min_io_)) return error("{}: min_io_size must be a multiple of logical_block_size", what);
  if (!is_whole(opt_io_)) return error("{}: opt_io_size must be a multiple of logical_block_size", what);
  if (discard_granularity_ != kAutoGranularity && !is_whole(discard_granularity_)) {
    return error("{}: discard_granularity must be a multiple of logical_block_size", what);
  }
  if (max_unmap_ > 0xffff'ffff) return error("{}: max_unmap_size={} is above 4 GiB", what, max_unmap_);
  if (drive_ == nullptr && !is_cd()) return error("{}: drive property not set", what);
  return {};
}

ScsiUnitConfig ScsiDevice::unit_config() const {
  return {.kind = kind_,
          .removable = removable_ || is_cd(),
          .dpofua = dpofua_,
          .vendor = vendor_,
          .product = product_,
          .version = version_,
          .serial = serial_,
          .device_id = device_id_,
          .wwn = wwn_,
          .port_wwn = port_wwn_,
          .port_index = port_index_,
          .logical_block = is_cd() ? kCdBlock : logical_block_,
          .physical_block = is_cd() ? kCdBlock : physical_block_,
          .rotation_rate = rotation_rate_,
          .min_io = min_io_,
          .opt_io = opt_io_,
          .discard_granularity = discard_granularity_ == kAutoGranularity ? 0 : discard_granularity_,
          .max_unmap_bytes = u32(max_unmap_),
          .max_io_bytes = max_io_};
}

Result<void> ScsiDevice::realize() {
  EMU_TRY(check_config());
  if (drive_ == nullptr) {
    empty_ = std::make_shared<EmptyDrive>(machine().main_event_loop());
    drive_ = empty_.get();
  }
  ScsiBus& bus = scsi_bus();
  IoThreadObject* thread = bus.transport_ != nullptr ? bus.transport_->scsi_thread() : nullptr;
  EventLoop& home = drive_->loop();
  auto session = std::make_shared<ScsiSession>(
      *drive_, thread != nullptr ? thread->loop() : home, unit_config(),
      [at = address_, &bus] { return bus.luns(at.channel, at.target); },
      [at = address_, cd = is_cd(), &bus](ScsiSense what) {
        if (bus.transport_ != nullptr) bus.transport_->unit_attention(at, cd, what);
      },
      id().empty() ? path() : id());
  if (auto attached = attach_drive(*session); !attached) {
    if (empty_ != nullptr) drive_ = nullptr;
    empty_.reset();
    return error(std::move(attached).error().within(type().name()));
  }
  home_loop_ = &home;
  if (thread != nullptr) thread->add_user();
  thread_ = thread;
  session_ = std::move(session);
  bus.add(address_, session_);
  return {};
}

Result<void> ScsiDevice::attach_drive(ScsiSession& session) {
  if (auto* disk = dynamic_cast<block::DiskBackend*>(drive_)) {
    EMU_TRY(disk->set_wishes({.write_error = on_write_error_, .read_error = on_read_error_, .share_writes = share_rw_}));
  }
  EMU_TRY(drive_->attach(session));
  const auto refuse = [&](Error why) -> Result<void> {
    drive_->detach(session);
    return error(std::move(why));
  };
  if (!is_cd() && !removable_ && !drive_->has_medium()) {
    return refuse(Error("Device needs media, but drive is empty"));
  }
  if (&session.loop() != &drive_->loop()) {
    if (auto moved = drive_->move_to(session.loop()); !moved) return refuse(std::move(moved).error());
  }
  if (write_cache_wish_ != qom::OnOffAuto::Auto) {
    session.unit().set_default_write_cache(write_cache_wish_ == qom::OnOffAuto::On);
  }
  return {};
}

void ScsiDevice::unrealize() {
  scsi_bus().remove(address_);
  // The drive is given back when the last command is done, which may be after the device has gone.
  auto session = std::exchange(session_, nullptr);
  auto give_back = [session, drive = drive_, thread = thread_, home = home_loop_, empty = empty_] {
    drive->detach(*session);
    if (thread == nullptr) return;
    if (auto moved = drive->move_to(*home); !moved) log::error(moved.error());
    thread->remove_user();
  };
  if (std::exchange(empty_, nullptr) != nullptr) drive_ = nullptr;
  if (session->close([&machine = machine(), give_back] { machine.run_on_main_loop(give_back); })) give_back();
}

// Bus. ---------------------------------------------------------------------------------------------------------------

void ScsiBus::add(const ScsiAddress& address, std::shared_ptr<ScsiSession> session) {
  const std::lock_guard hold(mutex_);
  sessions_[address] = std::move(session);
}

void ScsiBus::remove(const ScsiAddress& address) {
  const std::lock_guard hold(mutex_);
  sessions_.erase(address);
}

std::shared_ptr<ScsiSession> ScsiBus::find(const ScsiAddress& address) const {
  const std::lock_guard hold(mutex_);
  const auto found = sessions_.find(address);
  return found == sessions_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<ScsiSession>> ScsiBus::sessions() const {
  const std::lock_guard hold(mutex_);
  std::vector<std::shared_ptr<ScsiSession>> list;
  for (const auto& [address, session] : sessions_) list.push_back(session);
  return list;
}

std::vector<std::shared_ptr<ScsiSession>> ScsiBus::sessions(u32 channel, u32 target) const {
  const std::lock_guard hold(mutex_);
  std::vector<std::shared_ptr<ScsiSession>> list;
  for (auto at = sessions_.lower_bound({channel, target, 0}); at != sessions_.end(); ++at) {
    if (at->first.channel != channel || at->first.target != target) break;
    list.push_back(at->second);
  }
  return list;
}

bool ScsiBus::has_target(u32 channel, u32 target) const {
  const std::lock_guard hold(mutex_);
  const auto at = sessions_.lower_bound({channel, target, 0});
  return at != sessions_.end() && at->first.channel == channel && at->first.target == target;
}

std::vector<u32> ScsiBus::luns(u32 channel, u32 target) const {
  const std::lock_guard hold(mutex_);
  std::vector<u32> list{0};
  for (auto at = sessions_.lower_bound({channel, target, 1}); at != sessions_.end(); ++at) {
    if (at->first.channel != channel || at->first.target != target) break;
    list.push_back(at->first.lun);
  }
  return list;
}

ScsiResult ScsiBus::answer_without_unit(u32 channel, u32 target, std::span<const u8> cdb, block::IoVec data) const {
  ScsiResult result;
  const auto answer = [&](std::span<const u8> bytes, u64 room) {
    result.bytes = copy_in(data, bytes.first(std::min<u64>(bytes.size(), room)));
    return result;
  };
  const u8 opcode = cdb.empty() ? 0xff : cdb[0];
  if (opcode == INQUIRY && cdb.size() >= 6 && (cdb[1] & 0x1f) == 0 && cdb[2] == 0) {
    std::array<u8, 36> d{0x7f, 0, 5, 0x12, 31};  // no unit here, and none can be
    return answer(d, get_be<u16>(&cdb[3]));
  }
  if (opcode == REPORT_LUNS && cdb.size() >= 12 && get_be<u32>(&cdb[6]) >= 16) {
    return answer(lun_list(luns(channel, target)), get_be<u32>(&cdb[6]));
  }
  if (opcode == REQUEST_SENSE && cdb.size() >= 6) {
    return answer(ScsiUnit::fixed_sense(sense::kLunNotSupported), cdb[4]);
  }
  result.status = CHECK_CONDITION;
  result.sense = sense::kLunNotSupported;
  return result;
}

/// The place that a device asked for, or the first that is free.
Result<ScsiAddress> ScsiBus::place(const ScsiDevice& device) const {
  const std::string& what = device.type().name();
  ScsiAddress address{device.channel_.value_or(0), device.target_.value_or(0), device.lun_.value_or(0)};
  const auto taken = [&] {
    return std::any_of(devices().begin(), devices().end(),
                       [&](Device* other) { return static_cast<ScsiDevice*>(other)->address_ == address; });
  };
  if (!device.target_) {
    while (address.target < limits_.targets && taken()) address.target++;
  } else if (!device.lun_) {
    while (address.lun < limits_.luns && taken()) address.lun++;
  }
  if (address.channel >= limits_.channels) return error("{}: bus {} has no channel {}", what, name(), address.channel);
  if (address.target >= limits_.targets) return error("{}: bus {} has no target {}", what, name(), address.target);
  if (address.lun >= limits_.luns) return error("{}: bus {} has no logical unit {}", what, name(), address.lun);
  if (taken()) return error("{}: scsi-id {} lun {} of bus {} is in use", what, address.target, address.lun, name());
  return address;
}

Result<void> ScsiBus::attach(Device& device) {
  auto* unit = dynamic_cast<ScsiDevice*>(&device);
  if (unit == nullptr) return error("{} is no SCSI device", device.type().name());
  unit->address_ = EMU_TRY(place(*unit));
  return Bus::attach(device);
}

std::string ScsiBus::device_address(const Device& device) const {
  const auto* unit = dynamic_cast<const ScsiDevice*>(&device);
  if (unit == nullptr) return {};
  return fmt::format("{}:{}:{}", unit->address_.channel, unit->address_.target, unit->address_.lun);
}

void register_scsi_devices(TypeRegistry& registry) {
  registry.add_base<ScsiBus, Bus>();
  registry.add_abstract<ScsiDevice, Device>();
  registry.add<ScsiHd>("scsi-hd");
  registry.add<ScsiCd>("scsi-cd");
}

}  // namespace emu::hw
