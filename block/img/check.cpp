// SPDX-License-Identifier: Apache-2.0
// system-emu-img check, resize.
#include <nlohmann/json.hpp>

#include "block/img/tool.h"
#include "block/qcow2/check.h"
#include "util/string.h"

namespace emu::block::img {

namespace {

// What others' scripts look for.
enum CheckStatus { kClean = 0, kFailed = 1, kCorrupt = 2, kLeaks = 3, kNoChecks = 63 };

using Json = nlohmann::ordered_json;

void print_json(const qcow2::CheckReport& report, const std::string& filename) {
  Json json = {{"image-end-offset", report.end_offset},
               {"total-clusters", report.total_clusters},
               {"check-errors", report.failures}};
  const auto add = [&](const char* name, u64 value) {
    if (value != 0) json[name] = value;
  };
  add("allocated-clusters", report.allocated_clusters);
  add("fragmented-clusters", report.fragmented_clusters);
  add("compressed-clusters", report.compressed_clusters);
  add("corruptions", report.errors);
  add("corruptions-fixed", report.errors_fixed);
  add("leaks", report.leaks);
  add("leaks-fixed", report.leaks_fixed);
  json["filename"] = filename;
  json["format"] = "qcow2";
  fmt::print("{}\n", json.dump(4));
}

void print_human(const qcow2::CheckReport& report, bool repaired) {
  if (repaired && report.errors_fixed + report.leaks_fixed != 0) {
    fmt::print("The following inconsistencies were found and repaired:\n\n"
               "    {} leaked clusters\n    {} corruptions\n\n"
               "Double checking the fixed image now...\n", report.leaks_fixed, report.errors_fixed);
  }
  if (report.errors == 0 && report.leaks == 0 && report.failures == 0) {
    fmt::print("No errors were found on the image.\n");
  } else {
    if (report.errors != 0) {
      fmt::print("\n{} errors were found on the image.\n"
                 "Data may be corrupted, or further writes to the image may corrupt it.\n", report.errors);
    }
    if (report.leaks != 0) {
      fmt::print("\n{} leaked clusters were found on the image.\n"
                 "This means waste of disk space, but no harm to data.\n", report.leaks);
    }
    if (report.failures != 0) {
      fmt::print("\n{} internal errors have occurred during the check.\n", report.failures);
    }
  }
  if (report.total_clusters != 0 && report.allocated_clusters != 0) {
    const double allocated = double(report.allocated_clusters);
    fmt::print("{}/{} = {:.2f}% allocated, {:.2f}% fragmented, {:.2f}% compressed clusters\n",
               report.allocated_clusters, report.total_clusters, allocated * 100 / double(report.total_clusters),
               double(report.fragmented_clusters) * 100 / allocated,
               double(report.compressed_clusters) * 100 / allocated);
  }
  if (report.end_offset != 0) fmt::print("Image end offset: {}\n", report.end_offset);
}

struct CheckRun {
  std::string filename;
  qcow2::Repair repair;
  bool prints_findings;
};

Result<qcow2::CheckReport> check_file(Tool& tool, const NodeRef& file, const CheckRun& what) {
  qcow2::ImageOptions options;
  options.for_check = true;
  options.without_children = true;
  options.read_only = what.repair == qcow2::Repair::None;
  std::string name = "checked";
  auto image = tool.run(qcow2::Image::open(tool.loop(), name, file, std::move(options)));
  if (!image) return error(std::move(image).error().within("Could not open '" + what.filename + "'"));
  std::function<void(const std::string&)> say;
  if (what.prints_findings) {
    say = [](const std::string& line) { fmt::print("{}\n", line); };
  }
  auto report = tool.run(qcow2::check(**image, what.repair, std::move(say)));
  const Result<void> closed = tool.run((*image)->close());
  if (!closed) return error(closed.error());
  return report;
}

}  // namespace

int check_command(Tool& tool, const std::vector<std::string>& words) {
  const auto arguments = Arguments::parse(
      words, "f:r:qUT:", {"output=", "repair=", "force-share", "image-opts", "object=", "format=", "quiet"});
  if (!arguments) return tool.fail(arguments.error());
  const std::string output = arguments->get("output").value_or("human");
  if (output != "human" && output != "json") return tool.fail("--output must be used with human or json as argument.");
  if (arguments->rest().size() != 1) return tool.fail("Expecting one image file name");
  CheckRun what{arguments->rest()[0], qcow2::Repair::None, output == "human" && !arguments->has("q")};
  if (const auto repair = arguments->get("r") ? arguments->get("r") : arguments->get("repair")) {
    if (*repair == "leaks") what.repair = qcow2::Repair::Leaks;
    else if (*repair == "all") what.repair = qcow2::Repair::All;
    else return tool.fail("--repair takes 'leaks' or 'all'.");
  }
  const std::string format = arguments->get("f").value_or(arguments->get("format").value_or(""));
  const bool repairs = what.repair != qcow2::Repair::None;
  const auto file = tool.open({.filename = what.filename,
                               .format = "file",
                               .writable = repairs ? Writable::Yes : Writable::No,
                               .force_share = arguments->has("U") || arguments->has("force-share")});
  if (!file) return tool.fail(file.error());
  if (format.empty() || format != "qcow2") {
    std::vector<u8> first(std::min<u64>(8, (*file)->bytes()));
    const iovec part = {first.data(), first.size()};
    if (!first.empty() && tool.run((*file)->read(0, {&part, 1})) != 0) return tool.fail("cannot read " + what.filename);
    if (format == "raw" || !qcow2::looks_like_qcow2(first)) {
      return tool.fail("This image format does not support checks", kNoChecks);
    }
  }
  auto report = check_file(tool, *file, what);
  if (!report) return tool.fail(report.error());
  const qcow2::CheckReport fixed = *report;
  if (repairs && fixed.errors_fixed + fixed.leaks_fixed != 0) {
    report = check_file(tool, *file, {what.filename, qcow2::Repair::None, what.prints_findings});
    if (!report) return tool.fail(report.error());
    report->errors_fixed = fixed.errors_fixed;
    report->leaks_fixed = fixed.leaks_fixed;
  }
  if (output == "json") print_json(*report, what.filename);
  else if (!arguments->has("q")) print_human(*report, repairs);
  if (report->failures != 0) return kFailed;
  return report->errors != 0 ? kCorrupt : report->leaks != 0 ? kLeaks : kClean;
}

// ---- resize ----

int resize_command(Tool& tool, const std::vector<std::string>& words) {
  // A size may begin with a minus: it is last, and no option.
  std::vector<std::string> options = words;
  if (options.empty()) return tool.fail("Not enough arguments");
  const std::string text = options.back();
  options.pop_back();
  const auto arguments =
      Arguments::parse(options, "f:q", {"shrink", "preallocation=", "image-opts", "object=", "format=", "quiet"});
  if (!arguments) return tool.fail(arguments.error());
  if (arguments->rest().size() != 1) return tool.fail("Expecting image file name and size");
  const std::string filename = arguments->rest()[0];
  const char sign = text.empty() ? '\0' : text[0];
  const bool is_relative = sign == '+' || sign == '-';
  const auto amount = parse_length(is_relative ? std::string_view(text).substr(1) : std::string_view(text));
  if (!amount) return tool.fail(amount.error());
  const auto preallocation = parse_preallocation(arguments->get("preallocation").value_or("off"));
  if (!preallocation) return tool.fail(preallocation.error());
  const auto node = tool.open({.filename = filename,
                               .format = arguments->get("f").value_or(arguments->get("format").value_or("")),
                               .writable = Writable::Yes,
                               .image_opts = arguments->has("image-opts")});
  if (!node) return tool.fail(node.error());
  const u64 now = (*node)->bytes();
  if (sign == '-' && *amount >= now) return tool.fail("New image size must be positive");
  u64 bytes = sign == '+' ? now + *amount : sign == '-' ? now - *amount : *amount;
  if (bytes == 0) return tool.fail("New image size must be positive");
  if (bytes > u64(INT64_MAX) - 511) return tool.fail(fmt::format("New image size {} is too large", bytes));
  bytes = align_up(bytes, 512);
  if (bytes < now && !arguments->has("shrink")) {
    tool.warn("Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an "
              "operation, make sure there is no important data there.");
    return tool.fail("Use the --shrink option to perform a shrink operation.");
  }
  const auto done = tool.run((*node)->truncate(bytes, *preallocation));
  if (!done) return tool.fail(done.error());
  const auto closed = tool.close(*node);
  if (!closed) return tool.fail(closed.error());
  if (!arguments->has("q") && !arguments->has("quiet")) fmt::print("Image resized.\n");
  return 0;
}

}  // namespace emu::block::img
