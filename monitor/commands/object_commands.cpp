// SPDX-License-Identifier: Apache-2.0
// The object tree from outside: qom-*, object-*, device-*.
#include "hw/core/plug.h"
#include "monitor/commands.h"
#include "monitor/monitors.h"
#include "monitor/property_json.h"
#include "qom/user_creatable.h"
#include "util/options.h"

namespace emu::monitor {
namespace {

struct PropertyInfo {
  static constexpr const char* kName = "ObjectPropertyInfo";
  std::string name, type;
  std::optional<std::string> description;
  std::optional<Json> default_value;
  void members(auto& m) {
    m("name", name);
    m("type", type);
    m("description", description);
    m("default-value", default_value);
  }
};

struct PathArguments {
  static constexpr const char* kName = "QomPathArguments";
  std::string path;
  void members(auto& m) { m("path", path); }
};

/// An absolute path, or the end of one that is the only such.
Result<qom::Object*> resolve(CommandContext& context, const std::string& path) {
  qom::ObjectTree& tree = context.control.machine().tree();
  if (path.starts_with('/')) {
    if (qom::Object* found = tree.find(path)) return found;
  } else if (!path.empty()) {
    qom::Object* found = nullptr;
    const std::string end = "/" + path;
    bool ambiguous = false;
    tree.root().visit([&](qom::Object& object) {
      if (!object.path().ends_with(end)) return;
      ambiguous |= found != nullptr;
      found = &object;
    });
    if (ambiguous) return error("Path '{}' is ambiguous", path);
    if (found != nullptr) return found;
  }
  return error(Error(fmt::format("Device '{}' not found", path), ErrorClass::DeviceNotFound));
}

/// To clients the board is /machine itself, and has the folders in it beside its own properties; here it is one of
/// them.
qom::Object& face_of(CommandContext& context, qom::Object& object) {
  return object.path() == "/machine" ? static_cast<qom::Object&>(context.control.board()) : object;
}

/// Of devices: whether it is plugged. Not of types, so that nobody tries to start with it.
constexpr const char* kRealized = "realized";

Result<std::vector<PropertyInfo>> qom_list(CommandContext& context, const PathArguments& arguments) {
  qom::Object* object = EMU_TRY(resolve(context, arguments.path));
  const qom::Object& face = face_of(context, *object);
  std::vector<PropertyInfo> list = {{"type", "string", {}, {}}};
  for (const qom::Property* property : face.type().properties()) {
    list.push_back({property->name(), property->type_name(), {}, {}});
  }
  if (dynamic_cast<const hw::Device*>(object) != nullptr) list.push_back({kRealized, "bool", {}, {}});
  for (const auto& child : object->children()) {
    if (child.get() == &face) continue;
    list.push_back({child->name(), fmt::format("child<{}>", face_of(context, *child).type().name()), {}, {}});
  }
  return list;
}

struct GetArguments {
  static constexpr const char* kName = "QomGetArguments";
  std::string path, property;
  void members(auto& m) {
    m("path", path);
    m("property", property);
  }
};
Result<Json> qom_get(CommandContext& context, const GetArguments& arguments) {
  qom::Object* object = EMU_TRY(resolve(context, arguments.path));
  const qom::Object& face = face_of(context, *object);
  if (arguments.property == "type") return Json(face.type().name());
  if (const qom::Object* child = object->child(arguments.property)) return Json(child->path());
  const auto* device = dynamic_cast<const hw::Device*>(object);
  if (device != nullptr && arguments.property == kRealized) return Json(device->is_realized());
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  return to_json(EMU_TRY(face.get(arguments.property)));
}

struct SetArguments {
  static constexpr const char* kName = "QomSetArguments";
  std::string path, property;
  Json value;
  void members(auto& m) {
    m("path", path);
    m("property", property);
    m("value", value);
  }
};
Result<void> qom_set(CommandContext& context, const SetArguments& arguments) {
  qom::Object* object = &face_of(context, *EMU_TRY(resolve(context, arguments.path)));
  if (const auto* device = dynamic_cast<const hw::Device*>(object); device && arguments.property == kRealized) {
    if (arguments.value == Json(device->is_realized())) return {};
    return error("Property '{}.{}' cannot be changed: device_add and device_del do that", object->type().name(),
                 kRealized);
  }
  const qom::Property* property = EMU_TRY(object->type().require_property(arguments.property));
  EMU_TRY(check_json_type(*property, arguments.value));
  const qom::PropertyValue value = EMU_TRY(to_property_value(arguments.property, arguments.value));
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  return object->set(arguments.property, value);
}

struct TypesArguments {
  static constexpr const char* kName = "QomListTypesArguments";
  std::optional<std::string> implements;
  std::optional<bool> abstract;
  void members(auto& m) {
    m("implements", implements);
    m("abstract", abstract);
  }
};
struct TypeEntry {
  static constexpr const char* kName = "ObjectTypeInfo";
  std::string name;
  std::optional<bool> abstract;
  std::optional<std::string> parent;
  void members(auto& m) {
    m("name", name);
    m("abstract", abstract);
    m("parent", parent);
  }
};
Result<std::vector<TypeEntry>> qom_list_types(CommandContext& context, const TypesArguments& arguments) {
  using Abstract = qom::TypeRegistry::Abstract;
  std::vector<TypeEntry> list;
  for (const qom::Type* type :
       context.control.machine().tree().registry().list(arguments.implements.value_or(""),
                                                        arguments.abstract.value_or(false) ? Abstract::Include
                                                                                           : Abstract::Skip)) {
    TypeEntry entry{type->name(), {}, {}};
    if (type->is_abstract()) entry.abstract = true;
    if (type->parent() != nullptr) entry.parent = type->parent()->name();
    list.push_back(std::move(entry));
  }
  return list;
}

struct TypeNameArguments {
  static constexpr const char* kName = "TypeNameArguments";
  std::string type_name;
  void members(auto& m) { m("typename", type_name); }
};

std::vector<PropertyInfo> describe_properties(const qom::Type& type) {
  std::vector<PropertyInfo> list;
  for (const qom::Property* property : type.properties()) {
    PropertyInfo info{property->name(), property->type_name(), {}, {}};
    if (!property->doc().empty()) info.description = property->doc();
    if (const Json value = to_json(type.default_value(*property)); !value.is_null() && !property->is_link()) {
      info.default_value = value;
    }
    list.push_back(std::move(info));
  }
  return list;
}

Result<std::vector<PropertyInfo>> qom_list_properties(CommandContext& context, const TypeNameArguments& arguments) {
  const qom::Type* type = context.control.machine().tree().registry().find(arguments.type_name);
  if (type == nullptr) {
    return error(Error(fmt::format("Class '{}' not found", arguments.type_name), ErrorClass::DeviceNotFound));
  }
  std::vector<PropertyInfo> list = {{"type", "string", {}, {}}};
  for (PropertyInfo& info : describe_properties(*type)) list.push_back(std::move(info));
  return list;
}

Result<std::vector<PropertyInfo>> device_list_properties(CommandContext& context, const TypeNameArguments& arguments) {
  const qom::Type* type = context.control.machine().tree().registry().find(arguments.type_name);
  if (type == nullptr) {
    return error(Error(fmt::format("Device '{}' not found", arguments.type_name), ErrorClass::DeviceNotFound));
  }
  if (type->is_abstract() || !type->is_a(hw::Device::kTypeName)) {
    return error("Parameter 'typename' expects a non-abstract device type");
  }
  return describe_properties(*type);
}

// ---- objects

/// {"qom-type", "id", and the properties of that type}. The schema has one variant a type.
struct ObjectAddArguments {
  static constexpr const char* kName = "ObjectOptions";
  std::string qom_type, id;
  Json properties;
  void members(auto& m) {
    m("qom-type", qom_type);
    m("id", id);
    m.rest(properties);
  }
  static std::string describe_schema(SchemaBuilder& builder) {
    if (!builder.claim(kName)) return kName;
    std::vector<std::string> names;
    Json variants = Json::array();
    if (builder.types() != nullptr) {
      for (const qom::Type* type : builder.types()->list(qom::UserCreatable::kTypeName)) {
        names.push_back(type->name());
        variants.push_back({{"case", type->name()}, {"type", describe_type_properties(builder, *type)}});
      }
    }
    Json members = Json::array();
    members.push_back({{"name", "qom-type"}, {"type", builder.enumeration("ObjectType", names)}});
    members.push_back({{"name", "id"}, {"type", schema_type<std::string>(builder)}});
    builder.add({{"name", kName},
                 {"meta-type", "object"},
                 {"members", std::move(members)},
                 {"tag", "qom-type"},
                 {"variants", std::move(variants)}});
    return kName;
  }
};
Result<void> object_add(CommandContext& context, const ObjectAddArguments& arguments) {
  qom::ObjectTree& tree = context.control.machine().tree();
  std::vector<std::pair<std::string, qom::PropertyValue>> properties;
  for (const auto& [name, value] : arguments.properties.items()) {
    if (const qom::Type* type = tree.registry().find(arguments.qom_type); type != nullptr) {
      const qom::Property* property = type->find_property(name);
      if (property == nullptr) return error("Parameter '{}' is unexpected", name);
      EMU_TRY(check_json_type(*property, value));
    }
    properties.emplace_back(name, EMU_TRY(to_property_value(name, value)));
  }
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  EMU_TRY(qom::add_user_object(tree, arguments.qom_type, arguments.id, properties));
  return {};
}

struct IdArguments {
  static constexpr const char* kName = "IdArguments";
  std::string id;
  void members(auto& m) { m("id", id); }
};
Result<void> object_del(CommandContext& context, const IdArguments& arguments) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  return qom::delete_user_object(context.control.machine().tree(), arguments.id);
}

// ---- devices

struct DeviceAddArguments {
  static constexpr const char* kName = "DeviceAddArguments";
  std::string driver;
  std::optional<std::string> bus, id;
  Json properties;
  void members(auto& m) {
    m("driver", driver);
    m("bus", bus);
    m("id", id);
    m.rest(properties);
  }
};
/// What both monitors say, with values as they were given.
struct DeviceRequest {
  std::string driver, id;
  std::optional<std::string> bus;
  std::vector<std::pair<std::string, qom::PropertyValue>> properties;
};

Result<hw::Bus*> bus_for(CommandContext& context, const DeviceRequest& request, const qom::Type& type) {
  qom::ObjectTree& tree = context.control.machine().tree();
  const std::string kind = hw::bus_type_of(type);
  hw::Bus* bus = nullptr;
  if (kind.empty() && !request.bus) {
    return error("Device '{}' can not be hotplugged on this machine", request.driver);
  }
  if (request.bus) {
    bus = hw::find_bus(tree.root(), *request.bus);
    if (bus == nullptr) return error("Bus '{}' not found", *request.bus);
    if (kind.empty() || !bus->type().is_a(kind)) {
      return error("Device '{}' can't go on {} bus", request.driver, bus->type().name());
    }
  } else {
    bus = context.control.board().default_bus(kind);
    if (bus == nullptr) {
      tree.root().visit([&](qom::Object& object) {
        auto* found = dynamic_cast<hw::Bus*>(&object);
        if (bus == nullptr && found != nullptr && found->type().is_a(kind)) bus = found;
      });
    }
    if (bus == nullptr) return error(hw::no_bus_error(kind, request.driver));
  }
  if (bus->hotplug() == nullptr) return error("Bus '{}' does not support hotplugging", bus->name());
  return bus;
}

Result<void> add_device(CommandContext& context, const DeviceRequest& request) {
  hw::Machine& machine = context.control.machine();
  const qom::Type* type = machine.tree().registry().find(request.driver);
  if (type == nullptr || !type->is_a(hw::Device::kTypeName)) {
    return error("'{}' is not a valid device model name", request.driver);
  }
  if (type->is_abstract()) return error("Parameter 'driver' expects a non-abstract device type");
  mem::MachineLockScope guard(machine.memory().lock());
  hw::Bus* bus = EMU_TRY(bus_for(context, request, *type));
  hw::Device* device =
      EMU_TRY(hw::plug_user_device(machine, request.driver, request.id, request.properties, bus));
  bus->hotplug()->device_plugged(*device);
  return {};
}

Result<void> device_add(CommandContext& context, const DeviceAddArguments& arguments) {
  DeviceRequest request{arguments.driver, arguments.id.value_or(""), arguments.bus, {}};
  for (const auto& [name, value] : arguments.properties.items()) {
    request.properties.emplace_back(name, EMU_TRY(to_property_value(name, value)));
  }
  return add_device(context, request);
}

/// Asks; the guest lets go when it likes, and then there is DEVICE_DELETED.
Result<void> device_del(CommandContext& context, const IdArguments& arguments) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  qom::ObjectTree& tree = context.control.machine().tree();
  qom::Object* object =
      tree.find(arguments.id.starts_with('/') ? arguments.id : "/machine/peripheral/" + arguments.id);
  if (object == nullptr || arguments.id.empty()) {
    return error(Error(fmt::format("Device '{}' not found", arguments.id), ErrorClass::DeviceNotFound));
  }
  auto* device = dynamic_cast<hw::Device*>(object);
  if (device == nullptr) return error("{} is not a hotpluggable device", arguments.id);
  if (device->bus() == nullptr || device->bus()->hotplug() == nullptr) {
    return error("Bus '{}' does not support hotplugging", device->bus() == nullptr ? "" : device->bus()->name());
  }
  return device->bus()->hotplug()->request_unplug(*device);
}

// ---- for people

Result<Reply> hmp_qom_list(CommandContext& context, const Arguments& arguments) {
  const std::string path = arguments.has("path") ? arguments.text("path") : "/";
  std::string text;
  for (const PropertyInfo& info : EMU_TRY(qom_list(context, {path}))) {
    text += fmt::format("{} ({})\n", info.name, info.type);
  }
  return Reply{std::move(text)};
}
Result<Reply> hmp_qom_get(CommandContext& context, const Arguments& arguments) {
  const Json value = EMU_TRY(qom_get(context, {arguments.text("path"), arguments.text("property")}));
  return Reply{value.dump(4, ' ', false, Json::error_handler_t::replace) + "\n"};
}
Result<Reply> hmp_qom_set(CommandContext& context, const Arguments& arguments) {
  const std::string path = arguments.text("path"), property = arguments.text("property"),
                    value = arguments.text("value");
  qom::Object& object = face_of(context, *EMU_TRY(resolve(context, path)));
  if (property == kRealized && dynamic_cast<const hw::Device*>(&object) != nullptr) {
    EMU_TRY(qom_set(context, {path, property, Json(value == "on" || value == "true")}));
    return Reply{};
  }
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  EMU_TRY(object.set(property, value));
  return Reply{};
}
Result<Reply> hmp_object_add(CommandContext& context, const Arguments& arguments) {
  Options options = EMU_TRY(Options::parse(arguments.text("object"), {.implied_key = "qom-type"}));
  const std::string type = EMU_TRY(options.take_required("qom-type"));
  const std::string id = EMU_TRY(options.take_required("id"));
  std::vector<std::pair<std::string, qom::PropertyValue>> properties;
  for (auto& [name, value] : options.take_rest()) properties.emplace_back(name, value);
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  EMU_TRY(qom::add_user_object(context.control.machine().tree(), type, id, properties));
  return Reply{};
}
Result<Reply> hmp_object_del(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(object_del(context, {arguments.text("id")}));
  return Reply{};
}
Result<Reply> hmp_device_add(CommandContext& context, const Arguments& arguments) {
  Options options = EMU_TRY(Options::parse(arguments.text("device"), {.implied_key = "driver"}));
  DeviceRequest request{options.take("driver").value_or(""), options.take("id").value_or(""), options.take("bus"), {}};
  for (auto& [name, value] : options.take_rest()) request.properties.emplace_back(name, value);
  EMU_TRY(add_device(context, request));
  return Reply{};
}
Result<Reply> hmp_device_del(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(device_del(context, {arguments.text("id")}));
  return Reply{};
}

}  // namespace

void register_object_commands(CommandRegistry& registry) {
  const QmpTraits early{.before_machine = true};
  registry.add(qmp("qom-list", qom_list, early));
  registry.add(qmp("qom-get", qom_get, early));
  registry.add(qmp("qom-set", qom_set, early));
  registry.add(qmp("qom-list-types", qom_list_types, early));
  registry.add(qmp("qom-list-properties", qom_list_properties, early));
  registry.add(qmp("device-list-properties", device_list_properties, early));
  registry.add(qmp("object-add", object_add, early));
  registry.add(qmp("object-del", object_del, early));
  registry.add(qmp("device_add", device_add, {.features = {"json-cli", "json-cli-hotplug"}}));
  registry.add(qmp("device_del", device_del));

  registry.add({.name = "qom-list",
                .arguments = {{"path", ArgKind::String, Need::Optional}},
                .syntax = "path",
                .help = "list QOM properties",
                .run = hmp_qom_list,
                .before_machine = true});
  registry.add({.name = "qom-get",
                .arguments = {{"path"}, {"property"}},
                .syntax = "path property",
                .help = "print QOM property",
                .run = hmp_qom_get,
                .before_machine = true});
  registry.add({.name = "qom-set",
                .arguments = {{"path"}, {"property"}, {"value"}},
                .syntax = "path property value",
                .help = "set QOM property",
                .run = hmp_qom_set,
                .before_machine = true});
  registry.add({.name = "object_add",
                .arguments = {{"object", ArgKind::Rest}},
                .syntax = "[qom-type=]type,id=str[,prop=value][,...]",
                .help = "create QOM object",
                .run = hmp_object_add,
                .before_machine = true});
  registry.add({.name = "object_del",
                .arguments = {{"id"}},
                .syntax = "id",
                .help = "destroy QOM object",
                .run = hmp_object_del,
                .before_machine = true});
  registry.add({.name = "device_add",
                .arguments = {{"device", ArgKind::Rest}},
                .syntax = "driver[,prop=value][,...]",
                .help = "add device, like -device on the command line",
                .run = hmp_device_add});
  registry.add({.name = "device_del",
                .arguments = {{"id"}},
                .syntax = "device",
                .help = "remove device",
                .run = hmp_device_del});
}

}  // namespace emu::monitor
