// SPDX-License-Identifier: Apache-2.0
#include "softmmu/objects.h"

#include <glib.h>

#include "block/filter/throttle.h"
#include "hw/virtio/rng_backend.h"
#include "net/register.h"
#include "qom/user_creatable.h"
#include "softmmu/io_thread.h"
#include "util/file.h"

namespace emu::softmmu {
namespace {

/// Guest memory, for -machine memory-backend=ID. The board that uses it makes the RAM.
class RamBackend : public qom::UserCreatable {
 public:
  RamBackend() = default;
  static void describe(qom::TypeInfo<RamBackend>& type) {
    type.doc("guest memory, for -machine memory-backend=ID");
    describe_common(type);
  }
  Result<void> complete() override {
    if (size_.count == 0) return error("property 'size' of {} doesn't take value '0'", this->type().name());
    return {};
  }

 protected:
  explicit RamBackend(bool share) : share_(share) {}
  template <typename T>
  static void describe_common(qom::TypeInfo<T>& type) {
    type.property("size", &RamBackend::size_, "bytes").required();
    type.property("prealloc", &RamBackend::prealloc_, "take the memory at start");
    type.property("share", &RamBackend::share_, "other processes (vhost-user) may have the memory, too");
    type.property("merge", &RamBackend::merge_, "has no effect");
    type.property("dump", &RamBackend::dump_, "has no effect");
    type.property("x-use-canonical-path-for-ramblock-id", &RamBackend::canonical_, "has no effect");
  }

 private:
  qom::Bytes size_;
  bool prealloc_ = false, share_ = false, merge_ = true, dump_ = true, canonical_ = false;
};

/// Shared unless the user says otherwise.
class MemfdBackend final : public RamBackend {
 public:
  MemfdBackend() : RamBackend(true) {}
  static void describe(qom::TypeInfo<MemfdBackend>& type) {
    type.doc("guest memory that other processes can map, for -machine memory-backend=ID");
    describe_common(type);
    type.property("hugetlb", &MemfdBackend::hugetlb_, "off only");
    type.property("seal", &MemfdBackend::seal_, "has no effect: its size is always sealed");
  }
  Result<void> complete() override {
    if (hugetlb_) return error("hugetlb=on: pages of hugetlbfs are not supported");
    return RamBackend::complete();
  }

 private:
  bool hugetlb_ = false, seal_ = true;
};

/// Not to be made, and so in no list; but libvirt 9.0 asks for its properties whatever is listed, and does not survive
/// that there is no such type.
class FileBackendName : public qom::UserCreatable {
 public:
  static constexpr const char* kTypeName = "memory-backend-file";
  static void describe(qom::TypeInfo<FileBackendName>& type) { type.doc("guest memory in a file: not supported yet"); }
};

enum class SecretFormat : u8 { Raw, Base64 };

/// A password or key for others to use. It is never shown again.
class Secret final : public qom::UserCreatable {
 public:
  static void describe(qom::TypeInfo<Secret>& type) {
    type.doc("a password or key, from data= or file=");
    type.choice("format", &Secret::format_, "QCryptoSecretFormat",
                {{"raw", SecretFormat::Raw}, {"base64", SecretFormat::Base64}}, "how it is written");
    type.property("data", &Secret::hidden, &Secret::set_data, "the secret itself");
    type.property("file", &Secret::file_, "file with the secret");
  }
  Result<void> complete() override {
    if (data_.empty() == file_.empty()) return error("exactly one of 'data' and 'file' is needed");
    if (!file_.empty()) {
      constexpr std::size_t kLongest = 1 << 20;
      data_ = EMU_TRY(read_file(file_, kLongest));
    }
    if (format_ == SecretFormat::Base64) {
      gsize size = 0;
      guchar* const bytes = ::g_base64_decode(data_.c_str(), &size);
      data_.assign(reinterpret_cast<const char*>(bytes), size);
      ::g_free(bytes);
      if (size == 0) return error("base64 data is not valid");
    }
    return {};
  }

 private:
  std::string hidden() const { return ""; }
  void set_data(std::string data) { data_ = std::move(data); }

  SecretFormat format_ = SecretFormat::Raw;
  std::string data_, file_;
};

constexpr ObjectKind kKinds[] = {
    {"filter-dump", "netdev=ID,file=PATH[,maxlen=N][,queue=all|rx|tx]", "writes packets to a pcap file"},
    {"iothread", "", "a thread that carries out the requests of devices with iothread=ID"},
    {"memory-backend-memfd", "size=SIZE[,share=off][,prealloc=on]",
     "guest memory that other processes can map, for -machine memory-backend=ID"},
    {"memory-backend-ram", "size=SIZE[,share=on][,prealloc=on]", "guest memory, for -machine memory-backend=ID"},
    {"rng-builtin", "", "random numbers of the host, for -device virtio-rng-pci,rng=ID"},
    {"rng-random", "filename=PATH", "random numbers from a file or device"},
    {"secret", "data=TEXT|file=PATH[,format=raw|base64]", "a password or key"},
    {"throttle-group", "x-bps-total=N[,x-iops-total=N]...", "limits that drives share"},
    {"can-bus"},
    {"memory-backend-file"},
    {"tls-creds-x509"},
};

}  // namespace

std::span<const ObjectKind> object_kinds() { return kKinds; }

void register_objects(qom::TypeRegistry& registry) {
  registry.add_abstract<qom::UserCreatable, qom::Object>();
  registry.add<RamBackend>("memory-backend-ram");
  registry.add<MemfdBackend>("memory-backend-memfd");
  registry.add_abstract<FileBackendName, qom::UserCreatable>();
  registry.add<Secret>("secret");
  net::register_net_objects(registry);
  hw::register_rng_backends(registry);
  registry.add_abstract<hw::IoThreadObject, qom::UserCreatable>();
  registry.add<IoThread>("iothread");
  block::register_block_objects(registry);
}

}  // namespace emu::softmmu
