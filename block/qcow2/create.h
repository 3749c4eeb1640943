// SPDX-License-Identifier: Apache-2.0
// New qcow2 images.
#pragma once

#include "block/node.h"
#include "block/qcow2/format.h"

namespace emu::block::qcow2 {

struct CreateOptions {
  u64 bytes = 0;
  u32 version = 3;  ///< compat=1.1; 2 is 0.10
  u64 cluster = 65536;
  u32 refcount_bits = 16;
  bool lazy_refcounts = false;
  bool extended_l2 = false;
  Preallocation preallocation = Preallocation::Off;
  Compression compression = Compression::Zlib;
  std::string backing_file;
  std::string backing_format;
  std::string data_file;  ///< its name, for the header
  bool data_file_raw = false;
};

/// Errors: combinations that the format does not have; one sentence that names the option.
Result<void> check_create_options(const CreateOptions& options);

/// Writes an empty image over whatever `file` holds. `data_file` where the options name one.
Task<Result<void>> create(NodeRef file, CreateOptions options, NodeRef data_file);

}  // namespace emu::block::qcow2
