// SPDX-License-Identifier: Apache-2.0
#include "softmmu/option_table.h"

#include <algorithm>

#include "util/suggest.h"

namespace emu::softmmu {
namespace {

constexpr auto kNo = TakesArgument::No;
constexpr auto kYes = TakesArgument::Yes;
using S = Section;

constexpr OptionRow kRows[] = {
    {"help", Opt::Help, kNo, S::Standard, "", "Shows this text and exits."},
    {"h", Opt::Help, kNo, S::Standard, "", "The same."},
    {"help-markdown", Opt::HelpMarkdown, kNo, S::Standard, "", "Prints docs/user/command-line.md and exits."},
    {"version", Opt::Version, kNo, S::Standard, "", "Shows the version and exits."},
    {"target", Opt::Target, kYes, S::Standard, "ARCH",
     "Chooses the guest's processor architecture; otherwise the end of the program's name does (system-emu-x86_64). "
     "'-target help' lists them."},
    {"machine", Opt::Machine, kYes, S::Standard, "[type=]NAME[,PROPERTY=VALUE...]",
     "Chooses the machine and sets its properties; given again, it merges. '-machine help' lists machines, "
     "'-machine NAME,help' properties. All machines take accel=, kernel=, initrd=, append= and memory-backend=."},
    {"M", Opt::Machine, kYes, S::Standard, "NAME[,...]", "Short for -machine."},
    {"accel", Opt::Accel, kYes, S::Standard,
     "NAME[,tb-size=MiB][,one-insn-per-tb=on][,count=on][,split-wx=on][,interpreter=on]"
     "[,host-features=-NAME[:-NAME...]]"
     "[,without=TECHNIQUE[:TECHNIQUE...]]",
     "Chooses how guest code runs: tcg translates it; qtest runs none, for tests of devices. "
     "Given again, the first that works is taken. host-features=-avx512 "
     "makes translated code for a host without AVX-512. without= switches techniques of the translator off, to measure "
     "them: links, jump-cache, check-sharing, dead-code, refill, direct-entry, quick-helpers, string-runs, granules, "
     "graveyard, checked-pages, huge-pages, flag-fusion, segments, kept-contexts, clones, plain-locks."},
    {"enable-kvm", Opt::EnableKvm, kNo, S::Standard, "", "Short for -accel kvm."},
    {"cpu", Opt::Cpu, kYes, S::Standard, "MODEL[,+FEATURE][,-FEATURE][,PROPERTY=VALUE...]",
     "Chooses the CPU model and switches features; '-cpu help' lists both."},
    {"smp", Opt::Smp, kYes, S::Standard, "[cpus=]N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]",
     "Number of CPUs, 1 to 255, and how they are arranged. What is left out is computed: cores first, then sockets, "
     "then threads."},
    {"m", Opt::Memory, kYes, S::Standard, "[size=]SIZE",
     "Guest memory; a number without suffix counts MiB. Default: 128M."},
    {"device", Opt::Device, kYes, S::Standard, "DRIVER[,id=ID][,bus=BUS][,PROPERTY=VALUE...] | JSON",
     "Adds a device. '-device help' lists drivers, '-device DRIVER,help' properties."},
    {"global", Opt::Global, kYes, S::Standard, "DRIVER.PROPERTY=VALUE",
     "Sets a default for a property of all devices of that type."},
    {"object", Opt::Object, kYes, S::Standard, "TYPE,id=ID[,PROPERTY=VALUE...] | JSON",
     "Makes an object, such as memory for the guest, a secret or an iothread. '-object help' lists the types."},
    {"set", Opt::Set, kYes, S::Standard, "GROUP.ID.KEY=VALUE",
     "Sets a key of an option that came before: device.disk0.serial=1 for -device ...,id=disk0."},
    {"readconfig", Opt::ReadConfig, kYes, S::Standard, "FILE",
     "Reads options from a file: a section [GROUP \"ID\"] for each, such as [device \"disk0\"] or [machine], "
     "with lines "
     "KEY = \"VALUE\"; # begins a comment."},
    {"overcommit", Opt::Overcommit, kYes, S::Standard, "[mem-lock=off][,cpu-pm=off]", "Accepted with these values."},
    {"name", Opt::Name, kYes, S::Standard, "[guest=]NAME[,process=NAME][,debug-threads=on|off]", "Names the guest."},
    {"uuid", Opt::Uuid, kYes, S::Standard, "UUID", "The system's UUID, as firmware tables show it."},
    {"rtc", Opt::Rtc, kYes, S::Standard, "[base=utc|localtime|DATE][,clock=host|rt|vm][,driftfix=none]",
     "What the guest's real-time clock shows at start (2024-02-29T12:30:00 or 2024-02-29), and which clock drives it."},
    {"no-hpet", Opt::NoHpet, kNo, S::Standard, "", "Short for -machine hpet=off."},
    {"no-acpi", Opt::NoAcpi, kNo, S::Standard, "", "Short for -machine acpi=off."},

    {"kernel", Opt::Kernel, kYes, S::Boot, "FILE", "Starts this kernel: bzImage, ELF with the PVH note, or multiboot."},
    {"initrd", Opt::Initrd, kYes, S::Boot, "FILE",
     "Initial RAM disk for -kernel; for multiboot a comma list of modules."},
    {"append", Opt::Append, kYes, S::Boot, "TEXT", "Command line for -kernel."},
    {"dtb", Opt::Dtb, kYes, S::Boot, "FILE", "Device tree for -kernel (no machine here takes one: refused)."},
    {"bios", Opt::Bios, kYes, S::Boot, "FILE", "Firmware image, instead of the machine's usual one."},
    {"L", Opt::DataDir, kYes, S::Boot, "FOLDER",
     "Looks for firmware here first; may be repeated. '-L help' lists folders."},
    {"boot", Opt::Boot, kYes, S::Boot, "[order=DRIVES][,once=DRIVES][,menu=on|off][,splash-time=MS]"
     "[,reboot-timeout=MS][,strict=on|off]",
     "What firmware tries to boot, and when it asks: DRIVES are up to three of a (floppy), c (disk), d (CD-ROM), n "
     "(network); once= counts for the first boot only. Needs firmware: a kernel that is entered directly asks nobody."},

    {"fw_cfg", Opt::FwCfg, kYes, S::Boot, "[name=]NAME,file=FILE|string=TEXT",
     "A file that firmware and guest find by this name, which begins with opt/. Linux shows it below "
     "/sys/firmware/qemu_fw_cfg/by_name."},
    {"smbios", Opt::Smbios, kYes, S::Boot, "file=FILE|type=0|1|2|3|4|8|9|11|17[,KEY=VALUE...]",
     "Fields of the tables that dmidecode shows, such as type=1,serial=TEXT; type=11 takes value=TEXT and "
     "path=FILE, each "
     "repeatedly; file= is a whole structure in place of ours. May be repeated."},
    {"acpitable", Opt::AcpiTable, kYes, S::Boot,
     "data=FILE[:FILE...]|file=FILE[,sig=TEXT][,rev=N][,oem_id=TEXT][,oem_table_id=TEXT][,oem_rev=N]"
     "[,asl_compiler_id=TEXT]"
     "[,asl_compiler_rev=N]",
     "Adds an ACPI table: data= are its contents, file= has its header too; the other keys are the header's fields."},

    {"drive", Opt::Drive, kYes, S::Disks,
     "[file=FILE][,if=ide|virtio|pflash|none][,id=ID][,media=disk|cdrom][,index=N|,bus=N,unit=N][,format=NAME]"
     "[,cache=MODE]"
     "[,aio=threads|io_uring][,discard=ignore|unmap][,detect-zeroes=off|on|unmap][,readonly=on|off][,snapshot=on|off]"
     "[,copy-on-read=on|off][,werror=ACTION][,rerror=ACTION][,throttling.KEY=N...][,file.KEY=VALUE...]",
     "A disk: image, how it is used, and unless if=none the device. cache= is writeback (the default), none, "
     "writethrough, "
     "directsync or unsafe; werror= and rerror= are report, ignore, stop, and for writes enospc. docs/user/disks.md."},
    {"blockdev", Opt::Blockdev, kYes, S::Disks, "[driver=]NAME,node-name=NAME[,KEY=VALUE...] | JSON",
     "Opens a node of the block graph, for -device ...,drive=NODE-NAME or for other nodes. docs/user/disks.md "
     "lists drivers."},
    {"hda", Opt::HardDisk, kYes, S::Disks, "FILE", "The first hard disk; so does a file name alone. -hdb, -hdc "
     "and -hdd: the others."},
    {"hdb", Opt::HardDisk, kYes, S::Disks, "FILE", "The second."},
    {"hdc", Opt::HardDisk, kYes, S::Disks, "FILE", "The third."},
    {"hdd", Opt::HardDisk, kYes, S::Disks, "FILE", "The fourth."},
    {"cdrom", Opt::Cdrom, kYes, S::Disks, "FILE", "A CD-ROM, in the place of -hdc."},
    {"snapshot", Opt::Snapshot, kNo, S::Disks, "",
     "What is written to disks goes to a temporary file and is thrown away at the end."},
    {"fsdev", Opt::Fsdev, kYes, S::Disks,
     "local,id=ID,path=FOLDER,security_model=none|passthrough|mapped-xattr[,readonly=on][,multidevs=warn|remap|forbid]"
     "[,fmode=MODE][,dmode=MODE][,writeout=immediate]",
     "A folder of the host for -device virtio-9p-pci,fsdev=ID,mount_tag=NAME. "
     "Guests: mount -t 9p -o trans=virtio NAME."},
    {"virtfs", Opt::Virtfs, kYes, S::Disks,
     "local,path=FOLDER,mount_tag=NAME,security_model=MODEL[,id=ID][,KEY=VALUE...]", "Both in one."},

    {"nographic", Opt::Nographic, kNo, S::Display, "",
     "No display; first serial port and monitor share this terminal (Ctrl-A h explains). This is the default."},
    {"display", Opt::Display, kYes, S::Display, "none", "No display, and the terminal is left alone."},
    {"audiodev", Opt::Audiodev, kYes, S::Display, "[driver=]none,id=ID | JSON",
     "Where sound goes: nowhere, as there are no sound devices."},
    {"audio", Opt::Audio, kYes, S::Display, "[driver=]none", "The same, shorter."},
    {"vga", Opt::Vga, kYes, S::Display, "none|std", "The machine's video card."},

    {"chardev", Opt::Chardev, kYes, S::Streams, "KIND,id=ID[,mux=on][,KEY=VALUE...]",
     "Makes a byte stream for -serial chardev:ID, -mon or devices. '-chardev help' lists kinds."},
    {"add-fd", Opt::AddFd, kYes, S::Streams, "fd=N,set=ID[,opaque=TEXT]",
     "Puts an inherited file descriptor into a set; paths /dev/fdset/ID stand for it."},
    {"serial", Opt::Serial, kYes, S::Streams, "STREAM",
     "Connects the next serial port: stdio, mon:stdio, null, pty, file:PATH, unix:PATH[,server=on,wait=off], "
     "tcp:HOST:PORT, telnet:HOST:PORT, udp:HOST:PORT@HOST:PORT, pipe:PATH, /dev/ttyS0, chardev:ID; none leaves "
     "the port out. "
     "May be repeated."},
    {"parallel", Opt::Parallel, kYes, S::Streams, "none", "Parallel port; there is none."},
    {"monitor", Opt::Monitor, kYes, S::Streams, "STREAM", "Where the monitor is: as for -serial; none for no monitor."},
    {"mon", Opt::Mon, kYes, S::Streams, "[chardev=]ID[,mode=readline|control][,pretty=on|off]",
     "A monitor on a stream made with -chardev: for people, or with mode=control for programs (QMP)."},
    {"qmp", Opt::Qmp, kYes, S::Streams, "STREAM",
     "A monitor for programs (QMP), e.g. unix:PATH,server=on,wait=off. docs/user/qmp.md lists its commands."},
    {"qmp-pretty", Opt::QmpPretty, kYes, S::Streams, "STREAM", "The same with one member a line."},
    {"debugcon", Opt::Debugcon, kYes, S::Streams, "STREAM", "Where bytes written to I/O port 0xe9 go."},
    {"echr", Opt::EscapeChar, kYes, S::Streams, "NUMBER", "Code of the escape key, instead of 1 for Ctrl-A."},

    {"netdev", Opt::Netdev, kYes, S::Network,
     "user|tap|socket|stream|dgram|hubport,id=ID[,KEY=VALUE...]",
     "Host side of a network card, for -device CARD,netdev=ID; help lists the kinds and their keys."},
    {"nic", Opt::Nic, kYes, S::Network, "[KIND][,model=CARD][,mac=ADDRESS][,id=ID][,KEY=VALUE...]",
     "A network card and its host side in one (user when no KIND is given); none for no card; model=help lists cards."},
    {"net", Opt::Net, kYes, S::Network, "nic[,netdev=ID][,model=CARD][,macaddr=ADDRESS] | KIND[,KEY=VALUE...]",
     "A card, or a host side, plugged into one common hub. Older spelling of -nic; none for no card."},

    {"preconfig", Opt::Preconfig, kNo, S::Running, "",
     "Waits before the machine is complete, until QMP's x-exit-preconfig."},
    {"dry-run", Opt::DryRun, kNo, S::Running, "",
     "Checks everything, builds the machine, and exits with status 0 instead of starting it. Connects to nobody, runs "
     "no script, and leaves nothing behind."},
    {"explain", Opt::Explain, kNo, S::Running, "",
     "Prints what was asked for in full and canonical form, one option a line as a shell takes it, and exits."},
    {"S", Opt::Freeze, kNo, S::Running, "", "Does not start the guest; the monitor's 'cont' does."},
    {"no-reboot", Opt::NoReboot, kNo, S::Running, "", "Short for -action reboot=shutdown: a reset ends the program."},
    {"no-shutdown", Opt::NoShutdown, kNo, S::Running, "",
     "Short for -action shutdown=pause: power-off only stops the guest."},
    {"action", Opt::Action, kYes, S::Running,
     "reboot=reset|shutdown,shutdown=poweroff|pause,panic=pause|shutdown|exit-failure|none,watchdog=ACTION",
     "What happens on these events. A guest panic with panic=shutdown, the default, ends the program with status 3."},
    {"watchdog-action", Opt::WatchdogAction, kYes, S::Running, "ACTION", "Short for -action watchdog=ACTION."},
    {"daemonize", Opt::Daemonize, kNo, S::Running, "",
     "Goes to the background once all sockets listen and the pid file is written."},
    {"pidfile", Opt::Pidfile, kYes, S::Running, "FILE",
     "Writes the process id there, and removes the file at the end."},
    {"nodefaults", Opt::NoDefaults, kNo, S::Running, "",
     "No serial port, monitor, video or network card but those asked for."},
    {"no-user-config", Opt::NoUserConfig, kNo, S::Running, "", "Accepted; there are no configuration files."},
    {"msg", Opt::Message, kYes, S::Running, "[timestamp=on|off][,guest-name=off]",
     "Puts the time in front of messages."},
    {"sandbox", Opt::Sandbox, kYes, S::Running,
     "[enable=]on|off[,obsolete=allow|deny][,elevateprivileges=allow|deny|children][,spawn=allow|deny]"
     "[,resourcecontrol=allow|deny]",
     "on gives system calls up for good that no machine needs (seccomp); a call that is denied ends the program "
     "by SIGSYS. "
     "Denied besides: obsolete ones, unless allowed; setuid and its like, fork and exec, priorities and affinities, if "
     "denied."},
    {"timeout", Opt::Timeout, kYes, S::Running, "SECONDS",
     "Ends the program with status 124 after that time, and says where each CPU stood."},
    {"icount", Opt::Icount, kYes, S::Running, "[shift=]N|auto[,align=on|off][,sleep=on|off]",
     "The guest's clock counts its instructions, each of 2^N ns, and CPUs run in turn: the same input gives the "
     "same run. auto "
     "follows the host's time; align=on waits for it; sleep=off skips the time in which all CPUs sleep. "
     "docs/user/icount.md."},
    {"seed", Opt::Seed, kYes, S::Running, "NUMBER",
     "The guest's RDRAND and RDSEED give the sequence of that seed, the same in each run, instead of the host's random "
     "numbers."},

    {"gdb", Opt::Gdb, kYes, S::Debug, "STREAM",
     "Waits for a debugger there: tcp:[HOST]:PORT, unix:PATH, chardev:ID, stdio, none. With -S it is there "
     "before the guest."},
    {"s", Opt::GdbShort, kNo, S::Debug, "", "Short for -gdb tcp::1234."},
    {"d", Opt::Log, kYes, S::Debug, "ITEM[,ITEM...]", "Logs these items; '-d help' lists them."},
    {"D", Opt::LogFile, kYes, S::Debug, "FILE", "Where the log goes; otherwise to standard error."},
    {"dfilter", Opt::LogFilter, kYes, S::Debug, "RANGE[,RANGE...]",
     "Logs code of these guest addresses only: START+SIZE, START-SIZE or START..END."},
    {"symbols", Opt::Symbols, kYes, S::Debug, "FILE|guest",
     "Names of guest addresses for the monitor and --timeout: an ELF file or a System.map, or guest for those "
     "that the Linux "
     "that runs has in its memory; may be repeated. A kernel that is an ELF file brings its own."},
    {"trace", Opt::Trace, kYes, S::Debug, "[enable=]PATTERN[,events=FILE][,file=FILE][,to=log|ftrace|usdt]",
     "Switches trace events on whose names match, or off with '-' before the pattern; 'help' lists them. events= "
     "names a "
     "file of patterns, file= is the same as -D. docs/user/tracing.md."},
    {"qtest", Opt::Qtest, kYes, S::Debug, "STREAM",
     "Speaks the qtest protocol there, for tests of devices: docs/user/qtest.md. Goes with -accel qtest."},
    {"qtest-log", Opt::QtestLog, kYes, S::Debug, "FILE",
     "Where that conversation is written down; otherwise to standard error; none for nowhere."},
    {"singlestep", Opt::SingleStep, kNo, S::Debug, "", "Short for -accel tcg,one-insn-per-tb=on."},
    {"perfmap", Opt::PerfMap, kNo, S::Debug, "", "Writes /tmp/perf-PID.map, by which Linux perf names translated "
     "code."},
    {"jitdump", Opt::JitDump, kNo, S::Debug, "",
     "Writes jit-PID.dump, from which 'perf inject --jit' makes symbols and code of what 'perf record -k mono' "
     "has seen."},
};

constexpr std::string_view kFloppy = "there is no floppy drive";
constexpr std::string_view kScreen = "there is no graphical display yet: use -nographic or -display none";
constexpr std::string_view kSound = "there is no sound yet: leave it out";

constexpr MissingRow kMissing[] = {
    {"numa", kYes, ""},
    {"mem-path", kYes, ""},
    {"mem-prealloc", kNo, ""},
    {"k", kYes, kScreen},
    {"audio-help", kNo, kSound},
    {"soundhw", kYes, kSound},
    {"fda", kYes, kFloppy},
    {"fdb", kYes, kFloppy},
    {"mtdblock", kYes, "there are no such devices"},
    {"sd", kYes, "there are no such devices"},
    {"pflash", kYes, "say -drive if=pflash,format=raw,file=FILE"},
    {"iscsi", kYes, ""},
    {"usb", kNo, ""},
    {"usbdevice", kYes, ""},
    {"spice", kYes, kScreen},
    {"portrait", kNo, kScreen},
    {"rotate", kYes, kScreen},
    {"full-screen", kNo, kScreen},
    {"vnc", kYes, kScreen},
    {"sdl", kNo, kScreen},
    {"curses", kNo, kScreen},
    {"g", kYes, kScreen},
    {"win2k-hack", kNo, ""},
    {"no-fd-bootchk", kNo, ""},
    {"tpmdev", kYes, ""},
    {"compat", kYes, ""},
    {"xen-domid", kYes, ""},
    {"xen-attach", kNo, ""},
    {"xen-domid-restrict", kNo, ""},
    {"loadvm", kYes, ""},
    {"option-rom", kYes, ""},
    {"watchdog", kYes, ""},
    {"incoming", kYes, ""},
    {"only-migratable", kNo, ""},
    {"chroot", kYes, ""},
    {"runas", kYes, ""},
    {"writeconfig", kYes, "-explain prints what was asked for; -readconfig reads options"},
    {"plugin", kYes, ""},
    {"async-teardown", kNo, ""},
    {"dump-vmstate", kYes, ""},
    {"enable-sync-profile", kNo, ""},
    {"semihosting", kNo, ""},
    {"semihosting-config", kYes, ""},
    {"old-param", kNo, ""},
    {"tb-size", kYes, "write -accel tcg,tb-size=MiB"},
    {"no-kvm", kNo, "leave it out: -accel tcg is the default"},
    {"no-kvm-irqchip", kNo, ""},
    {"cpu-model", kYes, "use -cpu"},
};

template <typename Row>
const Row* find_row(std::span<const Row> rows, std::string_view name) {
  const auto at = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
  return at == rows.end() ? nullptr : &*at;
}

tl::unexpected<Error> unknown_option(std::string_view typed, std::string_view name) {
  std::vector<std::string> names;
  for (const OptionRow& row : kRows) {
    if (row.name.size() > 1) names.push_back("-" + std::string(row.name));
  }
  for (const MissingRow& row : kMissing) {
    if (row.name.size() > 1) names.push_back("-" + std::string(row.name));
  }
  std::string hint = did_you_mean("-" + std::string(name), names);
  if (hint.empty()) hint = "'-help' lists the options";
  return error(Error(fmt::format("{}: unknown option", typed)).with_hint(std::move(hint)));
}

}  // namespace

std::span<const OptionRow> option_rows() { return kRows; }
std::span<const MissingRow> missing_rows() { return kMissing; }

std::string_view section_title(Section section) {
  constexpr std::string_view kTitles[] = {
      "Machine", "What to start", "Disks", "Display", "Serial ports, monitor and streams", "Network",
      "Running", "Logging and debugging"};
  return kTitles[std::size_t(section)];
}

Result<std::vector<GivenOption>> scan_arguments(std::span<const std::string> arguments) {
  std::vector<GivenOption> given;
  for (std::size_t i = 0; i < arguments.size(); i++) {
    const std::string& word = arguments[i];
    std::string_view name = word;
    if (!name.starts_with('-') && !name.empty()) {
      given.push_back({find_row(option_rows(), "hda"), word});
      continue;
    }
    if (name.empty() || name == "-" || name == "--") return error("'{}' is not an option", word);
    name.remove_prefix(name.starts_with("--") ? 2 : 1);
    if (const MissingRow* missing = find_row(missing_rows(), name)) {
      return error(Error(fmt::format("{}: not supported yet", word)).with_hint(std::string(missing->instead)));
    }
    const OptionRow* row = find_row(option_rows(), name);
    if (row == nullptr) return unknown_option(word, name);
    GivenOption option{row, {}};
    if (row->argument == TakesArgument::Yes) {
      if (i + 1 == arguments.size()) {
        return error(Error(fmt::format("{}: its argument is missing", word))
                         .with_hint(fmt::format("write -{} {}", row->name, row->syntax)));
      }
      option.value = arguments[++i];
    }
    given.push_back(std::move(option));
  }
  return given;
}

}  // namespace emu::softmmu
