// SPDX-License-Identifier: Apache-2.0
#include "softmmu/emulation.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>

#include "chardev/backends.h"
#include "chardev/mux.h"
#include "hw/9p/fsdev.h"
#include "hw/virtio/vhost/vhost_user_device.h"
#include "qom/user_creatable.h"
#include "softmmu/help.h"
#include "softmmu/machine_options.h"
#include "softmmu/objects.h"
#include "softmmu/reverse/obstacles.h"
#include "util/event_notifier.h"
#include "util/file.h"
#include "util/log.h"
#include "util/string.h"
#include "util/suggest.h"
#include "util/sys/fatal_signals.h"
#include "util/sys/terminal.h"
#include "util/thread.h"

namespace emu::softmmu {
namespace {

/// Less than this no firmware and no kernel starts in.
constexpr u64 kLeastRam = u64(2) << 20;

constexpr const char* kFirstKeys = "Ctrl-A h shows the keys, Ctrl-A x ends the program";

/// N of "/dev/fdset/N".
std::optional<u64> fd_set_of(std::string_view path) {
  constexpr std::string_view kPrefix = "/dev/fdset/";
  if (!path.starts_with(kPrefix)) return std::nullopt;
  const auto id = parse_u64(path.substr(kPrefix.size()));
  if (!id) return std::nullopt;
  return *id;
}

/// The file that an object writes could be made, but is not.
Result<void> redirect_to_nowhere(std::vector<std::pair<std::string, qom::PropertyValue>>& properties) {
  for (auto& [key, value] : properties) {
    if (key != "file") continue;
    EMU_TRY(check_creatable(value.text()));
    value = "/dev/null";
  }
  return {};
}

std::string process_name(int pid) {
  std::string name;
  std::ifstream(fmt::format("/proc/{}/comm", pid)) >> name;
  return name.empty() ? "unknown process" : name;
}

}  // namespace

Emulation::Emulation(const StartOptions& options, const Parts& parts)
    : options_(options), parts_(parts), loop_(EventLoop::Context::Shared), run_state_(loop_, options.actions) {
  register_all_types(registry_, parts_);
  machine_ = std::make_unique<hw::Machine>(registry_, loop_, run_state_, clock_drive());
  disks_ = std::make_unique<block::BlockStore>(machine_->tree(), loop_);
  disks_->set_error_listener(this);
  preconfig_ = options.preconfig;
  run_state_.add_listener([this](const RunEvent& event) { report(event); });
  run_state_.before_reset([this] { disks_->drain_all(); });
  run_state_.on_debug_stop([this](unsigned vcpu, const accel::DebugStop& stop) {
    if (debugger_ != nullptr) debugger_->debug_stopped(vcpu, stop);
  });
}

Emulation::~Emulation() {
  sys::divert_termination(-1);
  signal_watch_.reset();
  if (disks_ != nullptr) disks_->give_up_all();
  if (accelerator_ != nullptr) accelerator_->shut_down();
  flush_streams();
  stop_monitor_thread();
  debugger_.reset();
  {
    mem::MachineLockScope guard(machine_->memory().lock());
    qtest_.reset();
  }
  people_.clear();
  programs_.clear();
  monitors_.reset();
  {
    mem::MachineLockScope guard(machine_->memory().lock());
    machine_->tree().root().visit([](qom::Object& object) {
      if (auto* device = dynamic_cast<hw::Device*>(&object); device != nullptr && device->is_realized())
        device->unrealize_all();
    });
    if (machine_->clock().drive() == Clock::Drive::Counted) machine_->clock().set_counter(nullptr);
    if (accelerator_ != nullptr) accelerator_->shut_down();
  }
  // vCPUs are gone, so nobody is in a callback any more and the grace period ends at once.
  while (machine_->memory().grace().poll()) ::usleep(100);
  // The loop still runs here and there, and with it timers that signal to CPUs: those go last.
  flush_streams();
  disks_->close();
  disks_.reset();
  {
    mem::MachineLockScope guard(machine_->memory().lock());
    accelerator_.reset();
  }
  machine_.reset();
}

/// Gives slow readers of our output a moment to take what the guest wrote last.
void Emulation::flush_streams() {
  constexpr auto kPatience = std::chrono::seconds(1);
  const auto pending = [this] {
    for (const auto& child : machine_->tree().container("/chardevs").children()) {
      auto* object = dynamic_cast<hw::ChardevObject*>(child.get());
      if (object != nullptr && object->stream().has_pending_output()) return true;
    }
    return false;
  };
  const ClockNs end = Clock::monotonic_now() + kPatience;
  while (pending() && Clock::monotonic_now() < end) {
    if (!loop_.run_once(false)) ::usleep(1000);
  }
}

Result<void> Emulation::build() {
  if (options_.timeout_s && !options_.dry_run) start_deadline();
  monitors_ = std::make_unique<monitor::Monitors>(*this, loop_);
  EMU_TRY(set_globals());
  EMU_TRY(make_objects(Stage::Early));
  EMU_TRY(make_accelerator());  // before the board, which goes by what it brings
  for (const std::string& file : options_.symbol_files) {
    if (file == "guest") {
      monitors_->symbols().add_guest_later(monitors_->guest_symbols());
      continue;
    }
    EMU_TRY(monitors_->symbols().add_file(file), "-symbols");
  }
  if (!options_.kernel.empty()) monitors_->symbols().add_file_later(options_.kernel);
  run_state_.name_addresses_by([this](u64 address) { return monitors_->symbols().describe_by_files(address); });
  EMU_TRY(make_streams());
  EMU_TRY(make_network());
  EMU_TRY(make_objects(Stage::WithNetwork));
  EMU_TRY(make_folders());
  EMU_TRY(make_nodes());
  EMU_TRY(make_board());
  EMU_TRY(plug_devices());
  run_state_.attach(*machine_, *board_, *accelerator_);
  if (ClockCounter* counter = accelerator_->counter()) machine_->clock().set_counter(counter);
  {
    mem::MachineLockScope guard(machine_->memory().lock());  // it listens to address spaces
    for (const hw::BoardCpu& cpu : board_->cpus()) EMU_TRY(accelerator_->add_vcpu(*cpu.cpu, *cpu.memory, cpu.ports));
  }
  history_ = std::make_unique<History>(
      *machine_, *board_, accelerator_->rewind(),
      [this] { return find_obstacle(options_, *machine_, accelerator_->rewind() != nullptr); },
      [this] { run_state_.went_back(); });
  // Before a monitor greets: who has seen the greeting may end us by a signal, and expects an orderly end.
  EMU_TRY(watch_signals());
  EMU_TRY(make_monitors());
  if (!consoles_.debugger.empty()) EMU_TRY(make_debugger(consoles_.debugger), "-gdb");
  if (consoles_.made_for_debugger) debugger_stream_ = consoles_.debugger;
  if (!consoles_.qtest.empty()) EMU_TRY(make_qtest());
  is_built_ = true;
  return {};
}

Result<void> Emulation::make_qtest() {
  QtestLog log = EMU_TRY(QtestLog::open(options_.dry_run ? "none" : options_.qtest_log));
  hw::ChardevObject* object = stream(consoles_.qtest);
  EMU_CHECK(object != nullptr);
  const Qtest::Time time = is_qtest(options_) ? Qtest::Time::Ours : Qtest::Time::Machine;
  qtest_ = EMU_TRY(Qtest::create(object->stream(), *machine_, *board_, time, std::move(log)), "-qtest");
  return {};
}

Result<void> Emulation::set_globals() {
  for (const GlobalRequest& global : options_.globals) {
    const std::string option = fmt::format("-global {}.{}={}", global.driver, global.property, global.value);
    const qom::Type* type = EMU_TRY(registry_.require(global.driver, "driver"), option);
    EMU_TRY(type->require_property(global.property), option);
    machine_->tree().add_global(type->name(), global.property, global.value);
  }
  return {};
}

hw::ChardevObject* Emulation::stream(const std::string& id) const {
  return dynamic_cast<hw::ChardevObject*>(machine_->tree().find("/chardevs/" + id));
}

/// Copies into their sets, so that one may be in several; what was inherited is closed.
Result<void> Emulation::take_descriptors() {
  std::set<int> inherited;
  for (const FdRequest& request : options_.fds) {
    const int fd = int(request.fd);
    Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!copy) {
      return error("-add-fd fd={}: {}", fd, errno == EBADF ? "no such descriptor was inherited" : std::strerror(errno));
    }
    inherited.insert(fd);
    EMU_TRY(monitors_->fd_sets().add(std::move(copy), i64(request.set), request.opaque));
  }
  for (const int fd : inherited) ::close(fd);
  return {};
}

Result<void> Emulation::make_streams() {
  EMU_TRY(take_descriptors());
  consoles_ = EMU_TRY(plan_consoles(options_));
  for (const chardev::ChardevOptions& one : consoles_.chardevs) {
    chardev::ChardevOptions options = one;
    const auto made_by = consoles_.made_by.find(one.id);
    const std::string option = made_by == consoles_.made_by.end() ? "-chardev" : made_by->second;
    if (options_.dry_run) {
      reserved_.push_back(EMU_TRY(chardev::check(one), option));
      if (auto* file = std::get_if<chardev::FileOptions>(&options.backend)) {
        if (const auto set = fd_set_of(file->path)) {
          EMU_TRY(monitors_->fd_sets().open(*set, O_WRONLY), option + ": chardev '" + one.id + "'");
        }
      }
      options = {.id = one.id, .backend = chardev::NullOptions{}, .mux = one.mux};
    }
    EMU_TRY(make_stream(options, is_for_programs_alone(consoles_, one) ? monitor_loop_ : loop_), option);
  }
  return {};
}

Result<chardev::Chardev*> Emulation::make_stream(const chardev::ChardevOptions& options, EventLoop& loop) {
  auto object = machine_->tree().make<hw::ChardevObject>();
  chardev::ChardevOptions resolved = options;
  Fd passed;  // only while the path that stands for it is opened
  if (auto* file = std::get_if<chardev::FileOptions>(&resolved.backend); file != nullptr) {
    if (const auto set = fd_set_of(file->path)) {
      passed = EMU_TRY(monitors_->fd_sets().open(*set, O_WRONLY), "chardev '" + options.id + "'");
      file->path = fmt::format("/proc/self/fd/{}", passed.get());
      file->append = true;
    }
  }
  object->hold(EMU_TRY(chardev::create(resolved, loop)));
  chardev::Chardev& made = object->stream();
  if (chardev::MuxChardev* mux = made.as_mux()) {
    if (options_.escape_char) mux->set_escape(*options_.escape_char);
    mux->on_quit([this] { run_state_.quit(hw::ShutdownCause::HostUi); });
  }
  EMU_TRY(machine_->tree().container("/chardevs").add_child(options.id, std::move(object)));
  monitors_->yanks().add(options.id, made);
  return &made;
}

/// Filters look at network back ends, which are made after those objects that they may need themselves.
Result<void> Emulation::make_objects(Stage stage) {
  for (const ObjectRequest& object : options_.objects) {
    if (object.type.starts_with("filter-") != (stage == Stage::WithNetwork)) continue;
    const std::string option = fmt::format("-object {},id={}", object.type, object.id);
    auto properties = object.properties;
    if (options_.dry_run && object.type == "filter-dump") EMU_TRY(redirect_to_nowhere(properties), option);
    EMU_TRY(qom::add_user_object(machine_->tree(), object.type, object.id, properties), option);
  }
  return {};
}

Result<void> Emulation::make_folders() {
  for (const FsRequest& request : options_.folders) {
    EMU_TRY(hw::add_fsdev(machine_->tree(), request.id, request.folder), request.option);
  }
  return {};
}

Result<u64> Emulation::choose_ram(const std::string& machine_type) const {
  u64 bytes = options_.ram_bytes.value_or(u64(128) << 20);
  if (!options_.memory_backend.empty()) {
    const MemoryBackend* found = nullptr;
    std::vector<std::string> ids;
    for (const MemoryBackend& backend : options_.memory_backends) {
      if (backend.id == options_.memory_backend) found = &backend;
      ids.push_back(backend.id);
    }
    if (found == nullptr) {
      return error(Error(fmt::format("-machine memory-backend={}: there is no such object", options_.memory_backend))
                       .with_hint(did_you_mean(options_.memory_backend, ids)));
    }
    if (options_.ram_bytes && *options_.ram_bytes != found->size) {
      return error("-m says {} bytes, but memory backend '{}' has {}", *options_.ram_bytes, found->id, found->size);
    }
    bytes = found->size;
  }
  if (bytes < kLeastRam && machine_type != "none-machine") {
    return error(
        Error(fmt::format("-m: {} KiB of memory are too little for any guest, which needs at least 2 MiB", bytes >> 10))
            .with_hint("a number without suffix counts MiB: write e.g. -m 512 or -m 1G"));
  }
  return bytes;
}

hw::BoardConfig Emulation::board_config() {
  hw::BoardConfig config;
  config.cpus = options_.cpus;
  for (const MemoryBackend& backend : options_.memory_backends) {
    if (backend.id != options_.memory_backend) continue;
    config.ram_shared = backend.share;
    config.ram_prealloc = backend.prealloc;
  }
  config.cpu_model = options_.cpu;
  // The guest's AVX-512 is the host's: taken from one, it is gone from the other.
  for (const AccelRequest& request : options_.accels) {
    for (std::string_view item : split(request.host_features, ':')) {
      if (item == "-avx512" && !config.cpu_model.empty()) config.cpu_model += ",-avx512f";
    }
  }
  config.acceleration = accelerator_->acceleration();
  config.kernel = options_.kernel;
  config.initrd = options_.initrd;
  config.append = options_.append;
  config.dtb = options_.dtb;
  config.bios = options_.bios;
  config.boot = options_.boot;
  config.data_dirs = options_.data_dirs;
  for (std::string& dir : default_data_dirs()) config.data_dirs.push_back(std::move(dir));
  for (std::size_t i = 0; i < config.serials.size(); i++) {
    config.serial_present[i] = consoles_.serials[i].present;
    if (!consoles_.serials[i].chardev.empty()) config.serials[i] = stream(consoles_.serials[i].chardev);
  }
  config.default_devices = options_.default_devices;
  config.vga = options_.vga.value_or(options_.default_devices);
  config.uuid = options_.uuid;
  config.name = options_.name;
  config.rtc_base = options_.rtc_base;
  config.rtc_localtime = options_.rtc_localtime;
  config.rtc_clock = options_.rtc_clock;
  return config;
}

Result<void> Emulation::make_board() {
  const std::string name = machine_or_default(parts_, options_.machine);
  const std::string type = EMU_TRY(parts_.find_machine_type(name), "-machine");
  auto object = EMU_TRY(machine_->tree().create(type, "machine"), "-machine");
  auto* board = dynamic_cast<hw::Board*>(object.get());
  if (board == nullptr) return error("-machine {}: '{}' is not a machine type", name, type);
  if (options_.display != DisplayChoice::None && board->type().find_property("graphics") != nullptr) {
    EMU_TRY(board->set("graphics",
                       consoles_.chose_terminal || options_.display == DisplayChoice::Nographic ? "off" : "on"));
  }
  EMU_TRY(make_drives(*board));  // before what names them: pflash0=
  EMU_TRY(set_machine_properties(*board, options_.machine_properties));
  if (options_.cpus.maxcpus > board->max_cpus()) {
    return error("-smp {}: machine '{}' takes at most {} CPU{}", options_.cpus.maxcpus, name, board->max_cpus(),
                 board->max_cpus() == 1 ? "" : "s");
  }
  if (options_.cpus.maxcpus != options_.cpus.cpus) {
    notes_.push_back(fmt::format("CPUs cannot be plugged in yet: the guest has {} for good", options_.cpus.cpus));
  }
  if (!options_.dtb.empty()) return error("-dtb: machine '{}' takes no device tree", name);
  hw::BoardConfig config = board_config();
  EMU_TRY(apply_firmware_options(options_.firmware, config));
  machine_->set_data_dirs(config.data_dirs);
  config.ram_bytes = EMU_TRY(choose_ram(type));
  ram_bytes_ = type == "none-machine" && !options_.ram_bytes ? 0 : config.ram_bytes;
  EMU_TRY(machine_->tree().container("/machine").add_child("board", std::move(object)));
  board_ = board;
  {
    mem::MachineLockScope guard(machine_->memory().lock());
    EMU_TRY(make_cpu_objects());  // first: clients look for the first CPU at device[0]
    EMU_TRY(board->build(*machine_, config));
    EMU_CHECK(board->cpus().size() == cpu_objects_.size());
  }
  add_notes(config);
  return {};
}

void Emulation::add_notes(const hw::BoardConfig& config) {
  for (const std::string& warning : config.warnings) notes_.push_back(warning);
  const bool is_none = board_->type().name() == "none-machine";
  if (options_.kernel.empty() && options_.bios.empty() && !is_none && options_.default_devices) {
    notes_.push_back(
        "nothing to start was given, so the firmware comes up alone; give it a kernel:\n"
        "  -kernel FILE -initrd FILE -append console=ttyS0   ('-help' lists all options)");
  }
  if (consoles_.chose_terminal && consoles_.shares_terminal) {
    notes_.push_back(fmt::format("there is no display: serial port and monitor share this terminal; {}", kFirstKeys));
  } else if (consoles_.shares_terminal && ::isatty(STDIN_FILENO) == 1) {
    notes_.push_back(kFirstKeys);
  }
}

Result<void> Emulation::plug_devices() {
  mem::MachineLockScope guard(machine_->memory().lock());
  std::vector<DeviceRequest> devices = EMU_TRY(network_cards());  // first: they get the slots that guests know
  devices.insert(devices.end(), drive_devices_.begin(), drive_devices_.end());
  devices.insert(devices.end(), options_.devices.begin(), options_.devices.end());
  if (!consoles_.debugcon.empty()) {
    devices.push_back({"isa-debugcon", "", "", {{"iobase", u64(0xe9)}, {"chardev", consoles_.debugcon}}});
  }
  for (const DeviceRequest& device : devices) {
    const std::string option = "-device " + device.driver + (device.id.empty() ? "" : ",id=" + device.id);
    hw::Bus* bus = nullptr;
    if (!device.bus.empty()) {
      bus = hw::find_bus(machine_->tree().root(), device.bus);
      if (bus == nullptr) {
        std::vector<std::string> names;
        machine_->tree().root().visit([&](qom::Object& object) {
          if (dynamic_cast<hw::Bus*>(&object) != nullptr) names.push_back(object.name());
        });
        return error(
            Error(fmt::format("{}: no bus '{}'", option, device.bus)).with_hint(did_you_mean(device.bus, names)));
      }
    } else if (const qom::Type* type = registry_.find(device.driver); type != nullptr && !type->is_abstract()) {
      if (const std::string kind = hw::bus_type_of(*type); !kind.empty()) bus = board_->default_bus(kind);
    }
    if (options_.dry_run && is_served_elsewhere(device)) {  // by somebody whom a dry run does not talk to
      EMU_TRY(check_served_device(device), option);
      continue;
    }
    EMU_TRY(hw::plug_user_device(*machine_, device.driver, device.id, device.properties, bus), option);
  }
  note_unused_netdevs();
  return {};
}

bool Emulation::is_served_elsewhere(const DeviceRequest& device) const {
  const qom::Type* type = registry_.find(device.driver);
  if (type == nullptr || type->is_abstract()) return false;
  if (device.driver.starts_with("vhost-user-")) return true;
  for (const auto& [name, value] : device.properties) {
    if (name != "netdev") continue;
    for (const auto& [id, options] : network_.netdevs) {
      if (id == value.text() && options.peek("type") == "vhost-user") return true;
    }
  }
  return false;
}

/// Whether it takes these values and may be here.
Result<void> Emulation::check_served_device(const DeviceRequest& device) {
  const auto object = EMU_TRY(machine_->tree().create(device.driver, "device"));
  for (const auto& [name, value] : device.properties) EMU_TRY(object->set(name, value));
  return hw::check_vhost_allowed(*machine_, device.driver);
}

Result<void> Emulation::make_monitors() {
  for (const ConsolePlan::Monitor& one : consoles_.monitors) {
    hw::ChardevObject* object = stream(one.chardev);
    EMU_CHECK(object != nullptr);
    const std::string where = "monitor on chardev '" + one.chardev + "'";
    if (one.for_programs) {
      const monitor::QmpOptions options{one.pretty ? monitor::JsonLayout::Pretty : monitor::JsonLayout::Line,
                                        /*offers_oob=*/object->stream().as_mux() == nullptr};
      programs_.push_back(EMU_TRY(monitor::QmpSession::create(object->stream(), *monitors_, options), where));
    } else {
      people_.push_back(EMU_TRY(monitor::HmpSession::create(object->stream(), *monitors_), where));
    }
  }
  if (!programs_.empty()) monitor_thread_ = start_thread("mon_iothread", [this] { monitor_loop_.run(); });
  return {};
}

void Emulation::stop_monitor_thread() {
  if (!monitor_thread_.joinable()) return;
  monitor_loop_.quit();
  monitor_thread_.join();
}

Result<void> Emulation::watch_signals() {
  static const EventNotifier kNotifier = EMU_TRY(EventNotifier::create());
  signal_watch_ = loop_.watch_fd(kNotifier.fd(), FdEvents::Read, [this](FdEvents) {
    if (!kNotifier.test_and_clear()) return;
    const int pid = sys::diverted_sender();
    log::info("terminating on signal {} from pid {} ({})", sys::diverted_signal(), pid, process_name(pid));
    run_state_.quit(hw::ShutdownCause::HostSignal);
  });
  sys::divert_termination(kNotifier.fd());
  return {};
}

void Emulation::start_deadline() {
  deadline_ = std::make_unique<Deadline>(
      std::chrono::seconds(*options_.timeout_s), [this] { loop_.post([this] { time_out(); }); },
      [seconds = *options_.timeout_s] {
        log::error("the time of --timeout {} is over, and the program waits for something else: it is ended", seconds);
        sys::restore_terminal();
        std::_Exit(kExitTimeout);
      });
}

void Emulation::time_out() {
  if (run_state_.is_ending() || accelerator_ == nullptr) return;  // it is being taken down
  log::error("the time of --timeout {} is over, and the machine is {}", *options_.timeout_s,
             is_built_ ? status() : "being built");
  if (is_built_) with_cpus_stopped([this] { say_where_cpus_stand(); });
  run_state_.time_out(kExitTimeout);
}

void Emulation::say_where_cpus_stand() {
  for (const hw::BoardCpu& cpu : board_->cpus()) {
    constexpr std::string_view kStates[] = {"running", "halted", "waiting to be started", "shut down"};
    const u64 pc = cpu.cpu->debug_pc();
    const std::string name = monitors_->symbols().describe(pc);
    log::error("CPU {}: pc {:#x}{}, {}", cpu.cpu->index(), pc, name.empty() ? "" : " (" + name + ")",
               kStates[std::size_t(cpu.cpu->halt_state())]);
  }
}

int Emulation::run() {
  if (!preconfig_ && !run_state_.is_ending()) run_state_.launch(/*start=*/!options_.freeze);
  if (!run_state_.is_ending()) loop_.run();
  if (debugger_ != nullptr) debugger_->exiting(run_state_.exit_status());
  return run_state_.exit_status();
}

}  // namespace emu::softmmu
