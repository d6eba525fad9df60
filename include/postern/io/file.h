#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/result.h"

/// Files of whole blocks, for what must be on stable storage, and the folder they stand in. Each
/// call here blocks: for start, for the control thread, for a thread that prepares files; never for
/// a worker's, which reads and writes an open one by its ring (ring.h). Two implementations, as of
/// the ring. Errors name the path and the reason.
namespace postern::io {

/// What offsets, sizes and memory of reads and writes are multiples of.
constexpr std::size_t file_block_size = 4096;

/// An open one. The descriptor is the caller's.
struct BlockFile {
    int descriptor = -1;
    std::uint64_t octets = 0;
    bool direct = false;  // past the page cache (O_DIRECT); false: the file system refuses that
};

/// And those above it that are missing; for nobody but its owner.
base::Result<void> make_folder(const std::string& path);

/// Names of the plain files in it, sorted.
base::Result<std::vector<std::string>> list_folder(const std::string& path);

/// What its file system has left for such as us.
base::Result<std::uint64_t> free_octets(const std::string& folder);

/// A lock that no two processes hold, given back with the descriptor or the process. The error says
/// that another process has it, if so.
base::Result<int> lock_folder(const std::string& path);

/// A new file of `octets` zeros. They, and its name, are on stable storage: a write to them later
/// has nothing to allocate. REQUIRES: a multiple of file_block_size, a name that is free.
base::Result<BlockFile> create_file(const std::string& path, std::uint64_t octets);

/// One that is there, for reading and writing.
base::Result<BlockFile> open_file(const std::string& path);

/// Fills `into` from `offset` on, or says why it can not; past the end is an error.
base::Result<void> read_file(
    const BlockFile& file, const std::string& path, std::uint64_t offset, std::span<char> into);

/// Writes whole blocks; they are on stable storage when this returns.
base::Result<void> write_file(
    const BlockFile& file,
    const std::string& path,
    std::uint64_t offset,
    std::span<const char> octets);

/// The same, of zeros from `offset` to the file's end.
base::Result<void> zero_file(const BlockFile& file, const std::string& path, std::uint64_t offset);

/// A file of any size with this content, or the one of that name untouched, whatever happens
/// meanwhile; on stable storage, its name too.
base::Result<void> save_file(const std::string& path, std::string_view content);

/// Another name in the same folder, on stable storage; a file that has it goes.
base::Result<void> rename_file(const std::string& from, const std::string& to);

/// Its name goes, on stable storage, too; what is open stays so.
base::Result<void> remove_file(const std::string& path);

void close_file(BlockFile& file);

}  // namespace postern::io
