// SPDX-License-Identifier: Apache-2.0
// info ...: what the machine looks like inside.
#include "hw/core/plug.h"
#include "monitor/commands.h"
#include "monitor/cpu_view.h"
#include "monitor/monitors.h"
#include "monitor/time_travel.h"
#include "monitor/page_tables.h"

namespace emu::monitor {
namespace {

Result<hw::BoardCpu> current_cpu(CommandContext& context) {
  const auto cpus = context.control.board().cpus();
  if (context.session.cpu >= cpus.size()) return error("this machine has no CPU");
  return cpus[context.session.cpu];
}

Result<Reply> info_registers(CommandContext& context, const Arguments& arguments) {
  const auto cpus = context.control.board().cpus();
  u64 first = context.session.cpu, last = first;
  if (arguments.flag("a")) {
    first = 0;
    last = cpus.empty() ? 0 : cpus.size() - 1;
  } else if (const auto index = arguments.number("vcpu")) {
    first = last = *index;
  }
  if (last >= cpus.size()) return error("{}", cpus.empty() ? "this machine has no CPU" : "CPU not available");
  Reply reply;
  context.control.with_cpus_stopped([&] {
    for (u64 i = first; i <= last; i++) {
      reply.text += fmt::format("{}CPU#{}\n{}", i == first ? "" : "\n", i, cpus[i].cpu->dump_registers());
      if (!reply.text.ends_with('\n')) reply.text += '\n';
      if (const std::string name = context.monitors.symbols().describe(cpus[i].cpu->debug_pc()); !name.empty()) {
        reply.text += fmt::format("pc is at {}\n", name);
      }
    }
  });
  return reply;
}

Result<Reply> info_cpus(CommandContext& context, const Arguments&) {
  Reply reply;
  const auto cpus = context.control.board().cpus();
  context.control.with_cpus_stopped([&] {
    for (std::size_t i = 0; i < cpus.size(); i++) {
      const bool halted = cpus[i].cpu->halt_state() != target::Halt::Running;
      const u64 pc = cpus[i].cpu->debug_pc();
      const std::string name = context.monitors.symbols().describe(pc);
      reply.text += fmt::format("{} CPU #{}: pc={:#018x}{}{}\n", i == context.session.cpu ? '*' : ' ', i, pc,
                                halted ? " (halted)" : "", name.empty() ? "" : " <" + name + ">");
    }
  });
  return reply;
}

Result<Reply> info_mtree(CommandContext& context, const Arguments& arguments) {
  mem::Memory& memory = context.control.machine().memory();
  mem::MachineLockScope guard(memory.lock());
  return Reply{arguments.flag("f") ? memory.describe_flat() : memory.describe_tree()};
}

Result<Reply> info_qtree(CommandContext& context, const Arguments&) {
  hw::Machine& machine = context.control.machine();
  mem::MachineLockScope guard(machine.memory().lock());
  return Reply{hw::describe_qtree(machine.system_bus())};
}

Result<Reply> info_ramblock(CommandContext& context, const Arguments&) {
  std::string text = fmt::format("{:>24} {:>18} {:>10}\n", "Block Name", "Size", "First page");
  for (const mem::RamRef& ram : context.control.machine().memory().ram_blocks()) {
    text += fmt::format("{:>24} {:#18x} {:#10x}\n", ram->id(), ram->size(), u32(ram->first_page()));
  }
  return Reply{std::move(text)};
}

Result<Reply> info_mem(CommandContext& context, const Arguments&) {
  const hw::BoardCpu cpu = EMU_TRY(current_cpu(context));
  Reply reply;
  context.control.with_cpus_stopped([&] {
    const CpuView view(cpu);
    const auto value = [&](const char* name) { return view.register_value(name).value_or(0); };
    reply.text = describe_x86_mappings({value("CR0"), value("CR3"), value("CR4"), value("EFER")},
                                       [&](u64 address, unsigned bytes) -> std::optional<u64> {
                                         u8 raw[8] = {};
                                         if (!view.read(address, AddressKind::Physical, std::span(raw).first(bytes)))
                                           return std::nullopt;
                                         u64 entry = 0;
                                         for (unsigned b = bytes; b-- > 0;) entry = entry << 8 | raw[b];
                                         return entry;
                                       });
  });
  return reply;
}

Result<Reply> info_tlb(CommandContext& context, const Arguments&) {
  EMU_TRY(current_cpu(context));
  Reply reply;
  context.control.with_cpus_stopped([&] { reply.text = context.control.accelerator().dump_tlb(context.session.cpu); });
  if (reply.text.empty()) reply.text = "no translations are cached\n";
  return reply;
}

Result<Reply> info_jit(CommandContext& context, const Arguments&) {
  return Reply{fmt::format("Accelerator {}\n{}", context.control.accelerator().name(),
                           context.control.accelerator().statistics())};
}

Result<Reply> info_kvm(CommandContext& context, const Arguments&) {
  const bool enabled = context.control.accelerator().name() == "kvm";
  return Reply{fmt::format("kvm support: {}\n", enabled ? "enabled" : "disabled")};
}

Result<Reply> info_pic(CommandContext& context, const Arguments&) {
  Reply reply;
  context.control.with_cpus_stopped([&] {
    mem::MachineLockScope guard(context.control.machine().memory().lock());
    reply.text = context.control.board().describe_interrupts();
  });
  if (reply.text.empty()) return error("this machine has no interrupt controller");
  return reply;
}

Result<Reply> info_replay(CommandContext& context, const Arguments&) {
  const TimeTravel* past = context.control.time_travel();
  return Reply{past == nullptr ? "This machine records nothing\n" : past->describe()};
}

Result<Reply> info_roms(CommandContext& context, const Arguments&) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  return Reply{context.control.board().describe_roms()};
}

Result<Reply> info_lapic(CommandContext& context, const Arguments& arguments) {
  const u64 cpu = arguments.number("apic-id").value_or(context.session.cpu);
  if (cpu >= context.control.board().cpus().size()) return error("CPU {} has no local APIC", cpu);
  Reply reply;
  context.control.with_cpus_stopped([&] {
    mem::MachineLockScope guard(context.control.machine().memory().lock());
    reply.text = context.control.board().describe_local_interrupts(unsigned(cpu));
  });
  if (reply.text.empty()) return error("this machine has no local APIC");
  return reply;
}

}  // namespace

void register_info_commands(CommandRegistry& registry) {
  registry.add({.name = "info",
                .arguments = {{"item", ArgKind::Rest, Need::Optional}},
                .syntax = "[subcommand]",
                .help = "show various information about the system state",
                .run = [](CommandContext& context, const Arguments& arguments) -> Result<Reply> {
                  const std::string item = arguments.text("item");
                  if (!item.empty()) return error("unknown command: 'info {}'", item);
                  Reply reply;
                  for (const Command& command : context.registry.commands()) {
                    if (command.name.starts_with("info ")) reply.text += help_line(command);
                  }
                  return reply;
                }});
  const auto add = [&](std::string name, std::string help, auto run) {
    registry.add({.name = "info " + std::move(name), .help = std::move(help), .run = run});
  };
  add("cpus", "show infos for each CPU", info_cpus);
  add("jit", "show dynamic compiler info", info_jit);
  add("kvm", "show whether the host's processor runs the guest", info_kvm);
  registry.add({.name = "info lapic",
                .arguments = {{"apic-id", ArgKind::Expression, Need::Optional}},
                .syntax = "[apic-id]",
                .help = "show local apic state of this CPU, or of the one given",
                .run = info_lapic});
  add("mem", "show the active virtual memory mappings", info_mem);
  registry.add({.name = "info mtree",
                .arguments = {{"f", ArgKind::Flag, Need::Optional}},
                .syntax = "[-f]",
                .help = "show memory tree (-f: dump flat view for address spaces)",
                .run = info_mtree});
  add("pic", "show PIC state", info_pic);
  add("qtree", "show device tree", info_qtree);
  add("ramblock", "show blocks of guest memory", info_ramblock);
  registry.add({.name = "info registers",
                .arguments = {{"a", ArgKind::Flag, Need::Optional}, {"vcpu", ArgKind::Expression, Need::Optional}},
                .syntax = "[-a|vcpu]",
                .help = "show the cpu registers (-a: of all cpus; vcpu: of that one)",
                .run = info_registers});
  add("replay", "show what of the past is recorded, for debuggers that go back", info_replay);
  add("roms", "show roms", info_roms);
  registry.add({.name = "info symbol",
                .arguments = {{"addr", ArgKind::Expression}},
                .syntax = "addr",
                .help = "show the name of an address (see -symbols)",
                .run = [](CommandContext& context, const Arguments& arguments) -> Result<Reply> {
                  const u64 address = *arguments.number("addr");
                  const std::string name = context.monitors.symbols().describe(address);
                  if (name.empty()) return error("no symbol is known for {:#x}", address);
                  return Reply{name + "\n"};
                }});
  registry.add({.name = "symbol-add",
                .arguments = {{"from", ArgKind::String}},
                .syntax = "guest|file",
                .help = "names of guest addresses from the Linux that runs, or from a file (see -symbols)",
                .run = [](CommandContext& context, const Arguments& arguments) -> Result<Reply> {
                  const std::string from = arguments.text("from");
                  Symbols& symbols = context.monitors.symbols();
                  if (from != "guest") {
                    EMU_TRY(symbols.add_file(from));
                    return Reply{};
                  }
                  return Reply{
                      fmt::format("{} symbols\n", EMU_TRY(symbols.add_guest(context.monitors.guest_symbols())))};
                }});
  add("tlb", "show cached virtual to physical translations", info_tlb);
}

}  // namespace emu::monitor
