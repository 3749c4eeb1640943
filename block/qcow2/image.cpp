// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/image.h"

#include <cerrno>
#include <cstring>

#include "block/qcow2/check.h"
#include "util/log.h"

namespace emu::block::qcow2 {

Image::Image(EventLoop& loop, std::string name, NodeRef file, ImageOptions options, bool read_only)
    : Node(loop, std::move(name), read_only), file_(std::move(file)), options_(std::move(options)) {}

Task<Result<std::shared_ptr<Image>>> Image::open(EventLoop& loop, std::string name, NodeRef file,
                                                 ImageOptions options) {
  const bool read_only = options.read_only || (options.auto_read_only && file->is_read_only());
  if (!read_only && file->is_read_only()) {
    co_return error("{} is read-only; the image cannot be opened for writing", file->filename());
  }
  std::shared_ptr<Image> image(new Image(loop, std::move(name), std::move(file), std::move(options), read_only));
  Result<void> ready = co_await image->read_header_and_tables();
  EMU_CO_TRY(ready);
  ready = co_await image->open_children();
  EMU_CO_TRY(ready);
  if (!image->is_read_only()) {
    ready = image->prepare_for_writing();
    if (!ready && image->options_.auto_read_only && !image->broken_) {
      log::warn("{}: opened read-only: {}", image->filename(), ready.error().message());
      image->change_read_only(true);
      ready = Result<void>();
    }
    EMU_CO_TRY(ready);
  }
  co_return image;
}

Task<Result<void>> Image::read_header_and_tables() {
  Buffer first(512);
  IoStatus status = file_.bytes() < 4 ? 0 : co_await file_.read(0, first.data(), first.size());
  if (status != 0) co_return error("cannot read the qcow2 header: {}", std::strerror(status));
  const std::size_t there = std::min<u64>(first.size(), file_.bytes());
  const Result<u64> wanted = header_bytes_wanted({first.data(), there});
  EMU_CO_TRY(wanted);
  Buffer cluster(*wanted);
  status = co_await file_.read(0, cluster.data(), cluster.size());
  if (status != 0) co_return error("cannot read the qcow2 header: {}", std::strerror(status));
  Result<Header> header = parse_header({cluster.data(), std::min<u64>(cluster.size(), file_.bytes())});
  EMU_CO_TRY(header);
  header_ = std::move(*header);
  geometry_ = header_.geometry();
  const Result<void> layout = check_layout(header_, file_.bytes());
  EMU_CO_TRY(layout);
  if (file_.sector() > geometry_.cluster()) {
    co_return error("clusters of {} bytes are too small for a file that is accessed in units of {} bytes "
                    "(cache.direct=on)", geometry_.cluster(), file_.sector());
  }
  header_sector_ = Buffer(file_.sector());
  std::memcpy(header_sector_.data(), cluster.data(), file_.sector());

  const CorruptionSink sink = [this](const std::string& what, u64 offset, u64 bytes) { report(what, offset, bytes); };
  map_ = std::make_unique<ClusterMap>(geometry_, file_, sink);
  status = co_await map_->open(header_.l1_offset, header_.l1_entries);
  if (status != 0) co_return error("cannot read the L1 table: {}", std::strerror(status));
  refcounts_ = std::make_unique<Refcounts>(geometry_, file_, sink);
  status = co_await refcounts_->open(header_.refcount_table_offset, header_.refcount_table_clusters,
                                     [this](u64 offset) { return is_metadata(offset); });
  if (status != 0) co_return error("cannot read the reference count table: {}", std::strerror(status));
  bitmaps_ = std::make_unique<Bitmaps>(geometry_, file_);
  co_return Result<void>();
}

Task<Result<void>> Image::open_children() {
  data_.replace(file_.ref());
  if (options_.without_children) {
    if (header_.has(kExternalData) && options_.data_file) data_.replace(options_.data_file);
    co_return Result<void>();
  }
  if (header_.has(kExternalData)) {
    NodeRef data = options_.data_file;
    if (!data) {
      if (!options_.open_child) co_return error("the data file '{}' cannot be opened here", header_.data_file);
      std::string role = "data-file", filename = header_.data_file, format = "raw";  // GCC 12: no temporaries here
      Result<NodeRef> opened = co_await options_.open_child(std::move(role), std::move(filename), std::move(format));
      if (!opened) co_return error(std::move(opened.error()).within("data file '" + header_.data_file + "'"));
      data = std::move(*opened);
      if (!data) co_return error("'data-file' is required for this image");
    }
    data_.replace(std::move(data));
  } else if (options_.data_file) {
    co_return error("'data-file' can only be set for images with an external data file");
  }
  if (options_.backing) {
    backing_ = *options_.backing;
  } else if (options_.open_child) {
    std::string role = "backing", filename = header_.backing_file, format = header_.backing_format;
    Result<NodeRef> opened = co_await options_.open_child(std::move(role), std::move(filename), std::move(format));
    if (!opened) {
      co_return error(std::move(opened.error()).within("Could not open backing file '" + header_.backing_file + "'"));
    }
    backing_ = std::move(*opened);
  } else if (!header_.backing_file.empty()) {
    co_return error("the backing file '{}' cannot be opened here", header_.backing_file);
  }
  if (backing_ && header_.is_raw_external()) {
    co_return error("an image with a raw external data file cannot have a backing file");
  }
  if (options_.children_opened) {
    const Result<void> good = options_.children_opened();
    EMU_CO_TRY(good);
  }
  options_.open_child = {};  // they may refer to what ends with the opening
  options_.children_opened = {};
  co_return Result<void>();
}

Result<void> Image::prepare_for_writing() {
  if (header_.has(kCorrupt) && !options_.for_check) {
    return error("the image is marked corrupt and cannot be opened for writing; repair it with "
                    "'system-emu-img check -r all', or open it read-only");
  }
  use_lazy_refcounts_ = options_.lazy_refcounts.value_or(header_.has_lazy_refcounts()) && header_.version >= 3 &&
                        !options_.for_check;
  has_written_ = options_.for_check;
  return {};
}

/// What has to be done before the image is changed, and not before it is ours: by the first request that writes the
/// graph has taken the locks.
Task<Result<void>> Image::make_consistent() {
  if (header_.version >= 3 && (header_.autoclear & ~kKnownAutoclear) != 0) {
    const IoStatus status =
        co_await set_feature_bits(header_.incompatible, header_.compatible, header_.autoclear & kKnownAutoclear);
    if (status != 0) co_return error("cannot write the qcow2 header: {}", std::strerror(status));
  }
  if (header_.has(kDirty)) {
    // §: scan the tables to repair counts before using the image.
    std::function<void(const std::string&)> silent;
    Result<CheckReport> repaired = co_await check(*this, Repair::All, std::move(silent));
    EMU_CO_TRY(repaired);
    if (!repaired->is_usable()) co_return error("the image was not closed cleanly and cannot be repaired");
    const IoStatus cleaned = co_await become_clean();
    if (cleaned != 0) co_return error("cannot write the qcow2 header: {}", std::strerror(cleaned));
  }
  if (header_.bitmaps && (header_.autoclear & kBitmaps)) {
    const Result<void> loaded = co_await bitmaps_->open(*header_.bitmaps, header_.bytes);
    if (!loaded) co_return error(Error(loaded.error()).within("persistent bitmaps"));
  }
  if (bitmaps_->has_enabled()) {
    IoStatus status = co_await bitmaps_->mark_in_use();
    if (status == 0) status = co_await file_.flush();
    if (status != 0) co_return error("cannot mark the persistent bitmaps: {}", std::strerror(status));
  }
  co_return Result<void>();
}

void Image::report(const std::string& message, u64 offset, u64 bytes) {
  if (broken_ || (has_reported_ && is_read_only())) return;  // once: guests may ask again and again
  has_reported_ = true;
  const bool fatal = !is_read_only() && !options_.for_check;
  log::error("{}: image is corrupt: {}{}", filename(), message,
             fatal ? "; further accesses are refused" : "");
  if (fatal) {
    broken_ = true;
    corrupt_bit_wanted_ = header_.version >= 3;
  }
  if (options_.on_corruption) options_.on_corruption({message, offset, bytes, fatal});
}

Task<IoStatus> Image::finish(IoStatus status) {
  if (!corrupt_bit_wanted_) [[likely]] co_return status;
  corrupt_bit_wanted_ = false;
  static_cast<void>(
      co_await set_feature_bits(header_.incompatible | kCorrupt, header_.compatible, header_.autoclear));
  co_return status != 0 ? status : EIO;
}

IoStatus Image::check_request(u64 offset, u64 bytes, bool writes) const {
  if (broken_ || closed_) return EIO;
  if (writes && is_read_only()) return EPERM;
  if (offset > header_.bytes || bytes > header_.bytes - offset) return EIO;
  return 0;
}

bool Image::is_fixed_metadata(u64 offset) const {
  const auto inside = [&](u64 start, u64 bytes) {
    return bytes != 0 && offset >= start && offset - start < align_up(bytes, geometry_.cluster());
  };
  return offset < geometry_.cluster() || inside(map_->l1_offset(), map_->l1_bytes()) ||
         inside(refcounts_->table_offset(), refcounts_->table_clusters() << geometry_.cluster_bits) ||
         (header_.snapshots != 0 && inside(header_.snapshots_offset, u64(header_.snapshots) * 40)) ||
         (header_.bitmaps && inside(header_.bitmaps->directory_offset, header_.bitmaps->directory_bytes));
}

bool Image::is_metadata(u64 offset) const {
  return is_fixed_metadata(offset) || map_->is_table(offset) || refcounts_->is_block(offset);
}

std::vector<Child> Image::children() const {
  std::vector<Child> children = {{"file", file_.ref()}};
  if (header_.has(kExternalData) && data_.is_open() && data_.ref() != file_.ref()) {
    children.push_back({"data-file", data_.ref()});
  }
  if (backing_) children.push_back({"backing", backing_});
  return children;
}

BlockLimits Image::limits() const {
  BlockLimits limits;
  // Asked for with every request: no list of children here.
  for (const Node* const child : {&file_.node(), data_.is_open() ? &data_.node() : nullptr,
                                  static_cast<Node*>(backing_.get())}) {
    if (!child) continue;
    const BlockLimits below = child->limits();
    limits.request_alignment = std::max(limits.request_alignment, below.request_alignment);
    limits.memory_alignment = std::max(limits.memory_alignment, below.memory_alignment);
    limits.max_transfer = std::min(limits.max_transfer, below.max_transfer);
  }
  limits.cluster = u32(geometry_.cluster());
  return limits;
}

Access Image::child_access(std::string_view role, Access own) const {
  if (role == "backing") return backing_access(own);
  if (role == "data-file" && header_.is_raw_external()) return own;
  return storage_access(own, is_read_only());
}

Result<void> Image::replace_child(std::string_view role, NodeRef node) {
  if (role == "backing") {
    backing_ = std::move(node);
  } else if (role == "data-file" && header_.has(kExternalData)) {
    data_.replace(std::move(node));
  } else if (role == "file") {
    if (data_.ref() == file_.ref()) data_.replace(node);
    file_.replace(std::move(node));
  } else {
    return error("qcow2 node '{}' has no child '{}'", name(), role);
  }
  return {};
}

// ---- header ----

Task<IoStatus> Image::write_header() {
  u8* const p = header_sector_.data();
  store_be64(p + kFieldSize, header_.bytes);
  store_be32(p + kFieldL1Entries, header_.l1_entries);
  store_be64(p + kFieldL1Offset, header_.l1_offset);
  store_be64(p + kFieldRefcountTable, header_.refcount_table_offset);
  store_be32(p + kFieldRefcountTableClusters, header_.refcount_table_clusters);
  if (header_.version >= 3) {
    store_be64(p + kFieldIncompatible, header_.incompatible);
    store_be64(p + kFieldCompatible, header_.compatible);
    store_be64(p + kFieldAutoclear, header_.autoclear);
  }
  AsyncMutex::Guard guard(header_mutex_);
  co_await guard.acquired();
  // A copy: the next change may come while this one is on its way.
  Buffer copy(header_sector_.size());
  std::memcpy(copy.data(), header_sector_.data(), copy.size());
  const IoStatus status = co_await file_.write(0, copy.data(), copy.size());
  co_return status;
}

Task<IoStatus> Image::set_feature_bits(u64 incompatible, u64 compatible, u64 autoclear) {
  if (header_.version < 3) co_return 0;
  header_.incompatible = incompatible;
  header_.compatible = compatible;
  header_.autoclear = autoclear;
  IoStatus status = co_await write_header();
  if (status == 0) status = co_await file_.flush();
  co_return status;
}

Task<IoStatus> Image::first_write() {
  AsyncMutex::Guard guard(first_write_mutex_);
  co_await guard.acquired();
  if (has_written_) co_return 0;
  const Result<void> ready = co_await make_consistent();
  if (!ready) {
    log::error("{}: {}", filename(), ready.error().message());
    co_return EIO;
  }
  has_written_ = true;
  co_return 0;
}

// ---- life cycle ----

Task<Result<void>> Image::close() {
  if (closed_) co_return Result<void>();
  IoStatus status = 0;
  if (broken_) status = co_await finish(0);  // the mark, where no request came to set it
  if (!is_read_only() && !broken_ && has_written_) {
    status = co_await settle();
    if (status == 0 && bitmaps_->is_in_use()) {
      status = co_await bitmaps_->store(*refcounts_);
      if (status == 0) status = co_await settle();
      if (status == 0) status = co_await bitmaps_->finish();
    }
    if (status == 0 && header_.has(kDirty)) status = co_await become_clean();
    const u64 end = refcounts_->end_cluster() << geometry_.cluster_bits;
    if (status == 0 && file_.has_grown() && end < file_.bytes()) {
      static_cast<void>(co_await file_.node().truncate(end, Preallocation::Off));  // only a nicety
    }
  }
  closed_ = true;
  if (status != 0) co_return error("{}: the image could not be closed cleanly: {}", filename(), std::strerror(status));
  co_return Result<void>();
}

Task<Result<void>> Image::set_read_only(bool read_only) {
  if (read_only == is_read_only()) co_return Result<void>();
  if (!read_only) {
    if (file_.node().is_read_only()) co_return error("{} is read-only", file_.node().filename());
    change_read_only(false);
    const Result<void> ready = prepare_for_writing();
    if (!ready) {
      change_read_only(true);
      co_return error(ready.error());
    }
    co_return Result<void>();
  }
  Result<void> closed = co_await close();
  EMU_CO_TRY(closed);
  closed_ = false;
  has_written_ = options_.for_check;  // what the first write does has to be done again, should it become writable
  change_read_only(true);
  co_return Result<void>();
}

}  // namespace emu::block::qcow2
