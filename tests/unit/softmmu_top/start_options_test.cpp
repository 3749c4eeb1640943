// SPDX-License-Identifier: Apache-2.0
#include "softmmu/start_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "softmmu/console.h"
#include "softmmu/option_table.h"

namespace emu::softmmu {
namespace {

using testing::HasSubstr;

Result<StartOptions> parse(std::vector<std::string> words) { return parse_command_line(words); }

StartOptions parsed(std::vector<std::string> words) {
  auto options = parse(std::move(words));
  EXPECT_TRUE(options.has_value()) << options.error().text();
  return options ? std::move(*options) : StartOptions{};
}

std::string refused(std::vector<std::string> words) {
  const auto options = parse(std::move(words));
  EXPECT_FALSE(options.has_value());
  return options ? "" : options.error().text();
}

ConsolePlan planned(std::vector<std::string> words) {
  auto plan = plan_consoles(parsed(std::move(words)));
  EXPECT_TRUE(plan.has_value()) << plan.error().text();
  return plan ? std::move(*plan) : ConsolePlan{};
}

TEST(StartOptions, EmptyLineHasDefaults) {
  const StartOptions options = parsed({});
  EXPECT_EQ(options.machine, "");
  EXPECT_FALSE(options.ram_bytes);
  EXPECT_EQ(options.cpus.cpus, 1u);
  EXPECT_TRUE(options.default_devices);
}

TEST(StartOptions, BothDashesWork) { EXPECT_EQ(parsed({"--m", "64"}).ram_bytes, u64(64) << 20); }

TEST(StartOptions, SetTakesBytesThatAreNoText) {
  const StartOptions options = parsed({"-device", R"({"driver":"x","id":"d"})", "-set", "device.d.serial=\xff"});
  ASSERT_EQ(options.devices.size(), 1u);
  EXPECT_EQ(options.devices[0].properties.at(0).second.text(), "\xef\xbf\xbd");
}

TEST(StartOptions, ObjectsAreThoseThatHelpLists) {
  EXPECT_EQ(parsed({"-object", "rng-builtin,id=r"}).objects.at(0).type, "rng-builtin");
  EXPECT_THAT(refused({"-object", "rng-bultin,id=r"}), HasSubstr("did you mean 'rng-builtin'?"));
  EXPECT_THAT(refused({"-object", "tls-creds-x509,id=r"}), HasSubstr("not supported yet"));
}

TEST(StartOptions, UnknownOptionNamesTheNearest) {
  EXPECT_EQ(refused({"-kernal", "x"}), "-kernal: unknown option\ndid you mean '-kernel'?");
  EXPECT_THAT(refused({"--xyzzy"}), HasSubstr("'-help' lists the options"));
}

TEST(StartOptions, MissingOptionsAreRefusedByName) {
  EXPECT_THAT(refused({"-fda", "disk.img"}), HasSubstr("-fda: not supported yet"));
  EXPECT_THAT(refused({"-"}), HasSubstr("'-' is not an option"));
}

TEST(StartOptions, OptionTablesDoNotOverlap) {
  std::set<std::string_view> names;
  for (const OptionRow& row : option_rows()) EXPECT_TRUE(names.insert(row.name).second) << row.name;
  for (const MissingRow& row : missing_rows()) EXPECT_TRUE(names.insert(row.name).second) << row.name;
}

TEST(StartOptions, ArgumentThatIsMissingIsExplained) {
  EXPECT_EQ(refused({"-m"}), "-m: its argument is missing\nwrite -m [size=]SIZE");
}

TEST(StartOptions, MemoryCountsMebibytesOrSuffixes) {
  EXPECT_EQ(parsed({"-m", "512"}).ram_bytes, u64(512) << 20);
  EXPECT_EQ(parsed({"-m", "1.5G"}).ram_bytes, u64(1536) << 20);
  EXPECT_EQ(parsed({"-m", "size=2G,slots=0,maxmem=0"}).ram_bytes, u64(2) << 30);
  EXPECT_EQ(parsed({"-m", "1G", "-m", "2G"}).ram_bytes, u64(2) << 30) << "the last wins";
  EXPECT_THAT(refused({"-m", "5X"}), HasSubstr("-m"));
  EXPECT_THAT(refused({"-m", "1G,maxmem=4G"}), HasSubstr("maxmem"));
  EXPECT_THAT(refused({"-m", "1G,slots=2"}), HasSubstr("slots=2"));
  EXPECT_THAT(refused({"-m", "1G,slot=2"}), HasSubstr("did you mean 'slots'?"));
}

TEST(StartOptions, SmpComputesWhatIsLeftOut) {
  const auto smp = [](const char* text) { return parsed({"-smp", text}).cpus; };
  auto t = smp("4");
  EXPECT_EQ(std::tuple(t.cpus, t.maxcpus, t.sockets, t.cores, t.threads), std::tuple(4u, 4u, 1u, 4u, 1u));
  t = smp("8,sockets=2");
  EXPECT_EQ(std::tuple(t.sockets, t.dies, t.cores, t.threads), std::tuple(2u, 1u, 4u, 1u));
  t = smp("8,cores=2,threads=2");
  EXPECT_EQ(std::tuple(t.sockets, t.cores, t.threads), std::tuple(2u, 2u, 2u));
  t = smp("8,sockets=2,cores=2");
  EXPECT_EQ(t.threads, 2u);
  t = smp("sockets=2,dies=2,cores=3,threads=2");
  EXPECT_EQ(std::tuple(t.cpus, t.maxcpus), std::tuple(24u, 24u));
  t = smp("2,maxcpus=4");
  EXPECT_EQ(std::tuple(t.cpus, t.maxcpus, t.cores), std::tuple(2u, 4u, 4u));
  t = smp("255");
  EXPECT_EQ(t.cpus, 255u);
  t = parsed({"-smp", "4", "-smp", "sockets=4"}).cpus;
  EXPECT_EQ(std::tuple(t.sockets, t.cores), std::tuple(4u, 1u)) << "repeated options merge";
}

TEST(StartOptions, SmpRefusesWhatCannotBe) {
  EXPECT_EQ(refused({"-smp", "0"}), "-smp: cpus=0: a machine has at least one\nwrite a number from 1 to 255");
  EXPECT_THAT(refused({"-smp", "300"}), HasSubstr("at most 255"));
  EXPECT_THAT(refused({"-smp", "3,sockets=2"}),
              HasSubstr("sockets (2) * dies (1) * cores (1) * threads (1) is not the number of CPUs (3)"));
  EXPECT_THAT(refused({"-smp", "4,maxcpus=2"}), HasSubstr("more than maxcpus"));
  EXPECT_THAT(refused({"-smp", "two"}), HasSubstr("-smp"));
  EXPECT_THAT(refused({"-smp", "2,corse=2"}), HasSubstr("did you mean 'cores'?"));
  EXPECT_THAT(refused({"-smp", "sockets=100,cores=100"}), HasSubstr("too many"));
}

TEST(StartOptions, MachineMergesAndKeepsItsProperties) {
  const StartOptions options =
      parsed({"-machine", "q35,accel=kvm:tcg,usb=off", "-M", "kernel=vmlinuz,hpet=off", "-no-acpi"});
  EXPECT_EQ(options.machine, "q35");
  ASSERT_EQ(options.accels.size(), 2u);
  EXPECT_EQ(options.accels[1].name, "tcg");
  EXPECT_EQ(options.kernel, "vmlinuz");
  EXPECT_EQ(options.machine_properties.pairs(), (Options::Pairs{{"usb", "off"}, {"hpet", "off"}, {"acpi", "off"}}));
}

TEST(StartOptions, HelpIsAskedWhereverAValueStands) {
  const auto topic = [](std::vector<std::string> words) { return parsed(std::move(words)).help->topic; };
  EXPECT_EQ(topic({"-h"}), HelpTopic::Options);
  EXPECT_EQ(topic({"--version"}), HelpTopic::Version);
  EXPECT_EQ(topic({"-machine", "help"}), HelpTopic::Machine);
  EXPECT_EQ(topic({"-M", "?"}), HelpTopic::Machine);
  EXPECT_EQ(topic({"-machine", "pc,help"}), HelpTopic::MachineProperties);
  EXPECT_EQ(topic({"-cpu", "help"}), HelpTopic::Cpu);
  EXPECT_EQ(topic({"-device", "help"}), HelpTopic::Device);
  EXPECT_EQ(topic({"-device", "isa-serial,help"}), HelpTopic::DeviceProperties);
  EXPECT_EQ(topic({"-accel", "help"}), HelpTopic::Accel);
  EXPECT_EQ(topic({"-chardev", "help"}), HelpTopic::Chardev);
  EXPECT_EQ(topic({"-d", "help"}), HelpTopic::Log);
  EXPECT_EQ(topic({"-display", "help"}), HelpTopic::Display);
  EXPECT_EQ(topic({"-vga", "help"}), HelpTopic::Vga);
  EXPECT_EQ(topic({"-target", "help"}), HelpTopic::Target);
}

TEST(StartOptions, DevicesComeFromKeysOrJson) {
  const StartOptions options = parsed({"-device", "isa-serial,id=s,bus=isa.0,index=1", "-device",
                                       R"({"driver":"isa-serial","id":"t","index":2,"on":true})"});
  ASSERT_EQ(options.devices.size(), 2u);
  EXPECT_EQ(options.devices[0].driver, "isa-serial");
  EXPECT_EQ(options.devices[0].bus, "isa.0");
  EXPECT_EQ(options.devices[0].properties.at(0), (std::pair<std::string, qom::PropertyValue>("index", "1")));
  EXPECT_EQ(options.devices[1].id, "t");
  EXPECT_EQ(options.devices[1].properties.at(0).second, qom::PropertyValue(u64(2)));
  EXPECT_THAT(refused({"-device", "{\"driver\":"}), HasSubstr("not valid JSON"));
  EXPECT_THAT(refused({"-device", "id=x"}), HasSubstr("driver"));
}

TEST(StartOptions, RepeatedIdIsAnError) {
  EXPECT_THAT(refused({"-device", "isa-serial,id=a", "-device", "isa-debugcon,id=a"}),
              HasSubstr("id 'a' is given twice"));
  EXPECT_THAT(refused({"-chardev", "null,id=c", "-chardev", "pty,id=c"}), HasSubstr("id 'c' is given twice"));
  EXPECT_TRUE(parse({"-chardev", "null,id=a", "-device", "isa-serial,id=a"}).has_value()) << "each kind has its own";
}

TEST(StartOptions, NetworksAreBackEndsAndCards) {
  const NetworkOptions one = parsed({"-nic", "user,model=e1000,mac=52:54:00:00:00:01,hostfwd=tcp::2222-:22"}).network;
  ASSERT_EQ(one.netdevs.size(), 1u);
  ASSERT_EQ(one.nics.size(), 1u);
  EXPECT_EQ(one.nics[0].netdev, one.netdevs[0].first);
  EXPECT_EQ(one.nics[0].model, "e1000");
  EXPECT_EQ(one.netdevs[0].second.peek("hostfwd"), "tcp::2222-:22");
  const NetworkOptions hub = parsed({"-net", "nic", "-net", "user"}).network;
  EXPECT_EQ(hub.netdevs.size(), 3u);  // two ports and the network
  EXPECT_EQ(hub.nics.size(), 1u);
  const NetworkOptions json =
      parsed({"-netdev", R"({"type":"user","id":"n","hostfwd":[{"str":"tcp::1-:2"}]})"}).network;
  EXPECT_EQ(json.netdevs.at(0).second.peek("hostfwd"), "tcp::1-:2");
  EXPECT_TRUE(parsed({"-nic", "none"}).network.given);
}

TEST(StartOptions, ErrorsNameTheOption) {
  EXPECT_THAT(refused({"-action", "reboot=never"}), HasSubstr("-action reboot=never: reboot: no value 'never'"));
  EXPECT_THAT(refused({"-d", "in_ams"}), HasSubstr("did you mean 'in_asm'?"));
  EXPECT_THAT(refused({"-uuid", "12"}), HasSubstr("not a UUID"));
  EXPECT_THAT(refused({"-display", "gtk"}), HasSubstr("'gtk' is not supported yet"));
  EXPECT_THAT(refused({"-vga", "sdt"}), HasSubstr("did you mean 'std'?"));
  EXPECT_THAT(refused({"-nic", "usr"}), HasSubstr("did you mean 'user'?"));
  EXPECT_THAT(refused({"-netdev", "user"}), HasSubstr("'id=' is missing"));
  EXPECT_THAT(refused({"-rtc", "base=tomorrow"}), HasSubstr("not a date"));
  EXPECT_THAT(refused({"-serial", "sdtio"}), HasSubstr("did you mean 'stdio'?"));
  EXPECT_THAT(refused({"-mon", "chardev=c,pretty=on"}), HasSubstr("not compatible with HMP"));
  EXPECT_THAT(refused({"-object", "memory-backend-rma,id=x"}), HasSubstr("did you mean 'memory-backend-ram'?"));
}

TEST(StartOptions, MemoryOfAMemfdIsShared) {
  const StartOptions options = parsed({"-object", "memory-backend-memfd,id=a,size=1G", "-object",
                                       "memory-backend-memfd,id=b,size=1G,share=off,seal=on", "-object",
                                       "memory-backend-ram,id=c,size=1G", "-object", "memory-backend-ram,id=d,size=1G,share=on"});
  ASSERT_EQ(options.memory_backends.size(), 4u);
  EXPECT_TRUE(options.memory_backends[0].share);
  EXPECT_FALSE(options.memory_backends[1].share);
  EXPECT_FALSE(options.memory_backends[2].share);
  EXPECT_TRUE(options.memory_backends[3].share);
  EXPECT_THAT(refused({"-object", "memory-backend-memfd,id=a,size=1G,hugetlb=on"}), HasSubstr("hugetlb=on"));
}

TEST(StartOptions, RtcTakesDates) {
  EXPECT_EQ(parsed({"-rtc", "base=1970-01-02"}).rtc_base, 86400);
  EXPECT_EQ(parsed({"-rtc", "base=2024-02-29T12:30:00,clock=vm"}).rtc_base, 1709209800);
  EXPECT_TRUE(parsed({"-rtc", "base=localtime"}).rtc_localtime);
  EXPECT_THAT(refused({"-rtc", "base=2023-02-30"}), HasSubstr("not a date"));
}

TEST(StartOptions, GlobalHasTwoSpellings) {
  const StartOptions options =
      parsed({"-global", "kvm-pit.lost_tick_policy=delay", "-global", "driver=a,property=b,value=c"});
  EXPECT_EQ(options.globals[0].driver, "kvm-pit");
  EXPECT_EQ(options.globals[0].property, "lost_tick_policy");
  EXPECT_EQ(options.globals[0].value, "delay");
  EXPECT_EQ(options.globals[1].value, "c");
}

TEST(StartOptions, LibvirtsLineIsRead) {
  const StartOptions options = parsed({"-S", "-no-user-config", "-nodefaults", "-nographic", "-machine",
                                       "none,accel=kvm:tcg", "-pidfile", "p", "-daemonize"});
  EXPECT_EQ(options.machine, "none");
  EXPECT_TRUE(options.freeze && options.daemonize && !options.default_devices);
}

TEST(StartOptions, ActionsComeInShortForms) {
  const RunActions actions = parsed({"-no-reboot", "-no-shutdown", "-action", "panic=pause,watchdog=none"}).actions;
  EXPECT_EQ(actions.reboot, RebootAction::Shutdown);
  EXPECT_EQ(actions.shutdown, ShutdownAction::Pause);
  EXPECT_EQ(actions.panic, PanicAction::Pause);
  EXPECT_EQ(actions.watchdog, WatchdogAction::None);
}

TEST(StartOptions, ProgramNameChoosesTheTarget) {
  EXPECT_EQ(target_of_program("/usr/bin/system-emu"), "");
  EXPECT_EQ(target_of_program("system-emu-aarch64"), "aarch64");
  EXPECT_EQ(target_of_program("./qemu-system-x86_64"), "x86_64");
}

// Consoles.

std::string monitor_ids(const ConsolePlan& plan) {
  std::string ids;
  for (const auto& monitor : plan.monitors) ids += (ids.empty() ? "" : " ") + monitor.chardev;
  return ids;
}

TEST(ConsolePlan, DefaultSharesTheTerminal) {
  for (const auto& words : {std::vector<std::string>{}, std::vector<std::string>{"-nographic"}}) {
    const ConsolePlan plan = planned(words);
    ASSERT_EQ(plan.chardevs.size(), 1u);
    EXPECT_TRUE(plan.chardevs[0].mux);
    EXPECT_EQ(plan.serials[0].chardev, "serial0");
    EXPECT_EQ(monitor_ids(plan), "serial0");
    EXPECT_EQ(plan.chose_terminal, words.empty());
  }
}

TEST(ConsolePlan, DisplayNoneLeavesTheTerminalAlone) {
  const ConsolePlan plan = planned({"-display", "none"});
  EXPECT_TRUE(plan.chardevs.empty());
  EXPECT_TRUE(plan.serials[0].present);
  EXPECT_TRUE(plan.monitors.empty());
}

TEST(ConsolePlan, NodefaultsHasNothing) {
  const ConsolePlan plan = planned({"-nodefaults", "-nographic"});
  EXPECT_TRUE(plan.chardevs.empty() && plan.monitors.empty());
  EXPECT_FALSE(plan.serials[0].present);
}

TEST(ConsolePlan, SerialAndMonitorMayBeApart) {
  ConsolePlan plan = planned({"-nographic", "-serial", "file:log"});
  EXPECT_EQ(monitor_ids(plan), "compat_monitor0");
  plan = planned({"-nographic", "-monitor", "none"});
  EXPECT_EQ(plan.serials[0].chardev, "serial0");
  EXPECT_FALSE(plan.chardevs[0].mux);
  plan = planned({"-serial", "mon:stdio", "-serial", "null", "-serial", "none"});
  EXPECT_EQ(monitor_ids(plan), "serial0");
  EXPECT_TRUE(plan.serials[1].present);
  EXPECT_FALSE(plan.serials[2].present);
  plan = planned({"-display", "none", "-serial", "stdio"});
  EXPECT_TRUE(plan.monitors.empty());
}

TEST(ConsolePlan, MonitorsForProgramsReplaceTheDefaultOne) {
  const ConsolePlan plan = planned({"-nographic", "-qmp", "unix:a,server=on,wait=off", "-chardev", "pty,id=c", "-mon",
                                    "chardev=c,mode=control,pretty=on", "-qmp-pretty", "tcp::0,server=on,wait=off"});
  ASSERT_EQ(monitor_ids(plan), "compat_monitor0 c compat_monitor1");
  EXPECT_TRUE(plan.monitors[0].for_programs);
  EXPECT_FALSE(plan.monitors[0].pretty);
  EXPECT_TRUE(plan.monitors[1].for_programs && plan.monitors[1].pretty);
  EXPECT_TRUE(plan.monitors[2].pretty);
  EXPECT_EQ(plan.serials[0].chardev, "serial0");
  EXPECT_TRUE(is_for_programs_alone(plan, plan.chardevs[0]));
}

TEST(ConsolePlan, AMonitorForPeopleIsNoneForPrograms) {
  const auto refused = parse({"-qmp", "mon:stdio"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().text(), HasSubstr("'mon:' makes a monitor for people"));
}

TEST(ConsolePlan, ReferencesMustExist) {
  const auto plan = plan_consoles(parsed({"-chardev", "null,id=con", "-serial", "chardev:cno"}));
  ASSERT_FALSE(plan.has_value());
  EXPECT_THAT(plan.error().text(), HasSubstr("did you mean 'con'?"));
  EXPECT_EQ(planned({"-chardev", "null,id=con", "-serial", "chardev:con"}).serials[0].chardev, "con");
}

TEST(ConsolePlan, DaemonHasNoTerminal) {
  EXPECT_FALSE(plan_consoles(parsed({"-daemonize", "-serial", "stdio"})).has_value());
  EXPECT_TRUE(planned({"-daemonize", "-nographic"}).chardevs.empty());
}

TEST(ConsolePlan, DebuggerSocketsListenAndNobodyWaits) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"-s"}, {"-gdb", "tcp::1234"}, {"-gdb", "unix:/a"}}) {
    const ConsolePlan plan = planned(words);
    EXPECT_EQ(plan.debugger, "gdb");
    const auto& socket = std::get<chardev::SocketOptions>(plan.chardevs.front().backend);
    EXPECT_TRUE(socket.server);
    EXPECT_FALSE(socket.wait);
    if (words.front() == "-s") {
      EXPECT_EQ(socket.port, "1234");
    }
  }
  EXPECT_TRUE(planned({"-s"}).made_for_debugger);
  const ConsolePlan lent = planned({"-chardev", "null,id=n", "-gdb", "chardev:n"});
  EXPECT_EQ(lent.debugger, "n");
  EXPECT_FALSE(lent.made_for_debugger);
  EXPECT_EQ(planned({"-gdb", "none"}).debugger, "");
  EXPECT_FALSE(parse({"-gdb", "nonsense:1"}).has_value());
  EXPECT_FALSE(plan_consoles(parsed({"-gdb", "chardev:absent"})).has_value());
}

TEST(BootOption, ReadsOrderMenuAndWaits) {
  const hw::BootOrder boot =
      parsed({"-boot", "order=dc,once=n", "-boot", "menu=on,splash-time=500,reboot-timeout=-1,strict=on"}).boot;
  EXPECT_EQ(boot.order, "dc");
  EXPECT_EQ(boot.once, "n");
  EXPECT_TRUE(boot.menu);
  EXPECT_TRUE(boot.strict);
  EXPECT_EQ(boot.menu_wait_ms, 500u);
  EXPECT_EQ(boot.reboot_timeout_ms, ~0u);
}

TEST(BootOption, StrictAloneNeedsNoFirmware) {
  EXPECT_FALSE(parsed({"-boot", "strict=on"}).boot.needs_firmware());
  EXPECT_TRUE(parsed({"-boot", "c"}).boot.needs_firmware());
}

TEST(BootOption, RefusesWhatFirmwareCannotDo) {
  EXPECT_THAT(refused({"-boot", "order=cc"}), HasSubstr("'c' is no drive letter here"));
  EXPECT_THAT(refused({"-boot", "splash=a.bmp"}), HasSubstr("pictures are not supported"));
  EXPECT_THAT(refused({"-boot", "reboot-timeout=-2"}), HasSubstr("-1 for never"));
}

}  // namespace
}  // namespace emu::softmmu
