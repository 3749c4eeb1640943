// SPDX-License-Identifier: Apache-2.0
// Drives on their bus, and how their requests run.
#include "hw/ide/ide_device.h"

#include <cerrno>

#include "block/disk_backend.h"

namespace emu::hw {

/// What a drive without drive= has: a tray with nothing in it. Its requests end at once.
struct IdeDevice::Empty final : block::BlockBackend {
  Result<void> attach(block::BlockFrontend&) override { return {}; }
  void detach(block::BlockFrontend&) override {}
  bool has_medium() const override { return false; }
  u64 bytes() const override { return 0; }
  bool is_read_only() const override { return true; }
  bool has_write_cache() const override { return false; }
  void set_write_cache(bool) override {}
  bool can_discard() const override { return false; }
  block::BlockLimits limits() const override { return {}; }
  std::string filename() const override { return ""; }
  EventLoop& loop() const override { return idle_loop; }
  Result<void> move_to(EventLoop&) override { return {}; }
  Task<block::IoStatus> read(u64, block::IoVec) override { co_return ENOMEDIUM; }
  Task<block::IoStatus> write(u64, block::IoVec, block::IoFlags) override { co_return ENOMEDIUM; }
  Task<block::IoStatus> write_zeroes(u64, u64, block::IoFlags) override { co_return ENOMEDIUM; }
  Task<block::IoStatus> discard(u64, u64) override { co_return ENOMEDIUM; }
  Task<block::IoStatus> flush() override { co_return ENOMEDIUM; }
  mutable EventLoop idle_loop;
};

void IdeRequest::collect() {
  parts.clear();
  if (!pins.empty()) {
    for (const mem::PinnedSpan& pin : pins) parts.push_back({pin.data(), pin.size()});
  } else if (!buffer.empty()) {
    parts.push_back({buffer.data(), buffer.size()});
  }
}

IdeDevice::IdeDevice() = default;
IdeDevice::~IdeDevice() = default;

void IdeDevice::describe(TypeInfo<IdeDevice>& type) {
  type.category(Category::Storage);
  type.plugs_into(IdeBus::kTypeName);
  type.link("drive", &IdeDevice::drive_, block::BlockBackend::kContainer, "block device behind it");
  type.property("unit", &IdeDevice::unit_, "0 or 1 on its bus; the first free one if not given");
  type.property("bootindex", &IdeDevice::boot_index_, "place in the firmware's boot order");
  type.property("serial", &IdeDevice::serial_, "serial number, up to 20 characters");
  type.property("model", &IdeDevice::model_, "model name, up to 40 characters");
  type.property("ver", &IdeDevice::version_, "firmware revision, up to 8 characters");
  type.property("wwn", &IdeDevice::wwn_, "world wide name; 0: none");
  type.property("write-cache", &IdeDevice::write_cache_wish_, "whether the guest is told of a write cache");
  type.property("share-rw", &IdeDevice::share_rw_, "others may write to the image, too");
  block::add_error_properties(type, &IdeDevice::on_write_error_, &IdeDevice::on_read_error_);
}

IdeBus& IdeDevice::ide_bus() const {
  auto* ide = dynamic_cast<IdeBus*>(bus());
  EMU_CHECK(ide != nullptr);
  return *ide;
}

Result<void> IdeDevice::attach_backend(bool needs_medium) {
  if (serial_.size() > 20 || model_.size() > 40 || version_.size() > 8) {
    return error("{}: serial, model or ver is too long (20, 40 and 8 characters)", type().name());
  }
  if (drive_ == nullptr && needs_medium) return error("{}: needs drive=, the block device behind it", type().name());
  if (drive_ != nullptr) {
    if (auto* disk = dynamic_cast<block::DiskBackend*>(drive_)) {
      const block::DeviceWishes wishes{
          .write_error = on_write_error_, .read_error = on_read_error_, .share_writes = share_rw_};
      EMU_TRY(disk->set_wishes(wishes), type().name());
    }
    EMU_TRY(drive_->attach(*this), type().name());
    backend_ = drive_;
  } else {
    empty_ = std::make_unique<Empty>();
    backend_ = empty_.get();
  }
  if (needs_medium && !backend_->has_medium()) {
    detach_backend();
    return error("{}: the drive has no medium, and a hard disk needs one", type().name());
  }
  if (write_cache_wish_ != qom::OnOffAuto::Auto) {
    backend_->set_write_cache(write_cache_wish_ == qom::OnOffAuto::On);
  }
  owner_ = std::make_unique<TaskOwner>(backend_->loop());
  alive_ = std::make_shared<bool>(true);
  if (serial_.empty()) serial_ = fmt::format("QM{:05}", 1 + place_);
  return {};
}

/// A drive that goes waits for its requests: their buffers are the guest's memory.
void IdeDevice::detach_backend() {
  alive_.reset();
  if (owner_ != nullptr) {
    owner_->cancel();
    owner_->drain();
  }
  owner_.reset();
  if (backend_ != nullptr) backend_->detach(*this);
  backend_ = nullptr;
  empty_.reset();
  under_way_ = 0;
}

AtaTaskFile IdeDevice::signature() const {
  AtaTaskFile registers;
  registers.count = 1;
  registers.lba_low = 1;
  registers.lba_mid = is_atapi() ? 0x14 : 0;
  registers.lba_high = is_atapi() ? 0xeb : 0;
  return registers;
}

void IdeDevice::submit(std::shared_ptr<IdeRequest> request, Done done, std::function<bool(IdeRequest&)> prepare) {
  under_way_++;
  const std::weak_ptr<bool> alive = alive_;
  machine().run_on_main_loop([this, alive, request = std::move(request), done = std::move(done),
                              prepare = std::move(prepare)] {
    if (alive.expired()) return;
    if (prepare && !prepare(*request)) {
      under_way_--;
      done(*request);
      return;
    }
    request->collect();
    owner_->start(run(request, done));
    if (empty_ != nullptr) empty_->idle_loop.run_once(false);  // what the owner posts there
  });
}

Task<void> IdeDevice::run(std::shared_ptr<IdeRequest> request, Done done) {
  request->error = co_await execute(*request);
  const mem::MachineLockScope guard(memory().lock());
  request->parts.clear();
  request->pins.clear();  // the data are the guest's before it hears that they are there
  under_way_--;
  done(*request);
}

// Bus. ---------------------------------------------------------------------------------------------------------------

Result<void> IdeBus::attach(Device& device) {
  auto* drive = dynamic_cast<IdeDevice*>(&device);
  if (drive == nullptr) return error("{} is no IDE drive", device.type().name());
  unsigned unit = 0;
  if (drive->unit_) {
    if (*drive->unit_ >= capacity()) {
      return error("{}: unit={} does not exist on bus {}, which takes {}", device.type().name(), *drive->unit_, name(),
                   capacity());
    }
    unit = *drive->unit_;
    if (drives_[unit] != nullptr) return error("{}: unit {} of bus {} is in use", device.type().name(), unit, name());
  } else {
    while (unit < capacity() && drives_[unit] != nullptr) unit++;
    if (unit == capacity()) return error("{}: bus {} is full", device.type().name(), name());
  }
  drives_[unit] = drive;
  drive->place_ = unit;
  return Bus::attach(device);
}

void IdeBus::detach(Device& device) {
  for (unsigned unit = 0; unit < kUnits; unit++) {
    if (drives_[unit] != &device) continue;
    drives_[unit] = nullptr;
    if (listener_) listener_(unit);
  }
  Bus::detach(device);
}

bool IdeBus::is_full() const {
  for (unsigned unit = 0; unit < capacity(); unit++) {
    if (drives_[unit] == nullptr) return false;
  }
  return true;
}

}  // namespace emu::hw
