// SPDX-License-Identifier: Apache-2.0
#include "softmmu/cpu_objects.h"

#include <algorithm>

namespace emu::softmmu {
namespace {

/// What `-accel help` lists, as types; programs look for them.
class AccelType : public qom::Object {
 public:
  static constexpr const char* kTypeName = "accel";
  static void describe(qom::TypeInfo<AccelType>& type) { type.doc("Way to run guest code"); }
};
class KvmAccelType final : public AccelType {
 public:
  static void describe(qom::TypeInfo<KvmAccelType>& type) { type.doc("Runs guest code on the host's processor"); }
};
class TcgAccelType final : public AccelType {
 public:
  static void describe(qom::TypeInfo<TcgAccelType>& type) { type.doc("Translates guest code"); }
};

class CpuBase : public qom::Object {
 public:
  static constexpr const char* kTypeName = "cpu";
  static void describe(qom::TypeInfo<CpuBase>& type) { type.doc("Guest CPU"); }
};

/// Of any model: what it has is data.
class CpuObject final : public CpuBase {
 public:
  static void describe(qom::TypeInfo<CpuObject>& type) {
    type.computed("unavailable-features", "strList", "asked for, but not there", [](const CpuObject& cpu) {
      qom::PropertyValue::List names;
      for (const std::string& name : cpu.details_.unavailable) names.emplace_back(name);
      return qom::PropertyValue(std::move(names));
    });
  }
  void set_details(CpuDetails details) { details_ = std::move(details); }
  template <typename Pairs>
  static auto find(const Pairs& pairs, std::string_view name) {
    return std::find_if(pairs.begin(), pairs.end(), [&](const auto& pair) { return pair.first == name; });
  }
  qom::PropertyValue feature(const std::string& name) const {
    const auto at = find(details_.features, name);
    return at != details_.features.end() && at->second;
  }
  qom::PropertyValue property(const std::string& name) const {
    const auto at = find(details_.properties, name);
    return at == details_.properties.end() ? qom::PropertyValue() : at->second;
  }

 private:
  CpuDetails details_;
};

}  // namespace

std::string cpu_type_name(const Parts& parts, std::string_view model) {
  return fmt::format("{}-{}-cpu", model, parts.target);
}

void register_cpu_types(qom::TypeRegistry& registry, const Parts& parts) {
  registry.add_abstract<AccelType, qom::Object>();
  registry.add<TcgAccelType>("tcg-accel");
  if (parts.make_kvm) registry.add<KvmAccelType>("kvm-accel");
  registry.add_abstract<CpuBase, qom::Object>();
  if (!parts.cpu_models) return;
  std::vector<std::string> models = parts.cpu_models();
  if (parts.make_kvm) models.emplace_back(kHostCpu);
  for (const std::string& model : models) {
    registry.add<CpuObject>(cpu_type_name(parts, model), [&](qom::TypeInfo<CpuObject>& type) {
      // What "host" has is seen at the objects; it has the properties of all others.
      const auto details = parts.cpu_details(model == kHostCpu ? "max" : model, nullptr);
      if (!details) return;
      for (const auto& pair : details->features) {
        const std::string& name = pair.first;
        type.computed(name, "bool", "", [name](const CpuObject& cpu) { return cpu.feature(name); });
      }
      for (const auto& pair : details->properties) {
        const std::string& name = pair.first;
        const bool is_text = pair.second.template get_if<std::string>() != nullptr;
        type.computed(name, is_text ? "string" : "int", "",
                      [name](const CpuObject& cpu) { return cpu.property(name); });
      }
    });
  }
}

Result<std::unique_ptr<qom::Object>> make_cpu_object(qom::ObjectTree& tree, const Parts& parts,
                                                     const CpuDetails& details) {
  auto object = EMU_TRY(tree.create(cpu_type_name(parts, details.model), "CPU"));
  static_cast<CpuObject&>(*object).set_details(details);
  return object;
}

}  // namespace emu::softmmu
