#include "tests/sim/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "postern/base/assert.h"
#include "postern/io/file.h"
#include "tests/sim/sim_world.h"

namespace postern::sim {

namespace {

Disk* current_disk = nullptr;

base::Error failed(const std::string& attempted, int error) {
    return {attempted + ": " + strerrordesc_np(error)};
}

}  // namespace

Disk::Disk(std::uint64_t octets_max) : octets_max_(octets_max) {
    POSTERN_ASSERT(current_disk == nullptr, "there is one simulated disk at a time");
    current_disk = this;
}

Disk::~Disk() {
    current_disk = nullptr;
}

Disk& Disk::current() {
    POSTERN_ASSERT(current_disk != nullptr, "a simulated file needs a simulated disk");
    return *current_disk;
}

std::uint64_t Disk::octets_used() const {
    std::uint64_t used = 0;
    for (const auto& [path, file] : files) {
        used += file->octets.size();
    }
    return used;
}

void Disk::begin_write(File& file, std::uint64_t size, std::uint64_t offset) {
    const bool whole_blocks =
        offset % io::file_block_size == 0 && size % io::file_block_size == 0 && size != 0;
    POSTERN_ASSERT(whole_blocks, "a write is of whole blocks");
    POSTERN_ASSERT(offset + size <= file.octets.size(), "a write stays within its file");
    for (const Write& other : under_way_) {
        const bool apart = other.file.get() != &file ||
                           other.offset + other.octets.size() <= offset ||
                           offset + size <= other.offset;
        POSTERN_ASSERT(apart, "two writes at once to one place of a file");
    }
    if (offset == 0) {
        file.blocks.clear();
    }
    for (std::uint64_t at = offset; at < offset + size; at += io::file_block_size) {
        POSTERN_ASSERT(
            file.blocks.insert(at).second, "a block was written twice in one life of its file");
    }
    ++writes_;
}

void Disk::write(
    int descriptor,
    std::span<const char> octets,
    std::uint64_t offset,
    std::function<void(std::int32_t)> done) {
    const std::shared_ptr<File> file = descriptors_.at(descriptor);
    POSTERN_ASSERT(
        reinterpret_cast<std::uintptr_t>(octets.data()) % sector_size == 0,
        "a write is from memory that is aligned");
    begin_write(*file, octets.size(), offset);
    World& world = World::current();
    const auto write = under_way_.insert(
        under_way_.end(),
        {file, octets, offset, std::string(octets.data(), octets.size()), std::move(done)});
    world.at(world.after_disk(), [this, write] { end_write(write); });
}

void Disk::end_write(std::list<Write>::iterator write) {
    World& world = World::current();
    if (held_) {
        world.at(world.now() + std::chrono::milliseconds(10), [this, write] { end_write(write); });
        return;
    }
    POSTERN_ASSERT(
        std::string_view(write->octets.data(), write->octets.size()) == write->as_given,
        "octets changed while they were being written");
    std::int32_t result = static_cast<std::int32_t>(write->octets.size());
    if (world.happens(world.faults().write_fails)) {
        result = world.random().chance(1, 4) ? -ENOSPC : -EIO;
        for (std::uint64_t at = 0; at < write->octets.size(); at += sector_size) {
            if (world.random().chance(1, 2)) {
                write->as_given.copy(&write->file->octets[write->offset + at], sector_size, at);
            }
        }
    } else {
        const std::uint64_t blocks = write->octets.size() / io::file_block_size;
        if (blocks > 1 && world.happens(world.faults().short_writes)) {
            const std::uint64_t written = 1 + world.random().below(blocks - 1);
            result = static_cast<std::int32_t>(written * io::file_block_size);
            // What was not written is still to be written for the first time.
            for (std::uint64_t block = written; block < blocks; ++block) {
                write->file->blocks.erase(write->offset + block * io::file_block_size);
            }
        }
        write->as_given.copy(&write->file->octets[write->offset], static_cast<std::size_t>(result));
    }
    const std::function<void(std::int32_t)> done = std::move(write->done);
    under_way_.erase(write);
    done(result);
}

void Disk::read(
    int descriptor,
    std::span<char> into,
    std::uint64_t offset,
    std::function<void(std::int32_t)> done) {
    const std::shared_ptr<File> file = descriptors_.at(descriptor);
    World& world = World::current();
    world.at(world.after_disk(), [file, into, offset, done = std::move(done)] {
        World& now = World::current();
        if (now.happens(now.faults().read_fails)) {
            done(-EIO);
            return;
        }
        std::size_t most = into.size();
        const std::size_t blocks = most / io::file_block_size;
        if (blocks > 1 && now.happens(now.faults().short_reads)) {
            most = (1 + now.random().below(blocks - 1)) * io::file_block_size;
        }
        done(static_cast<std::int32_t>(
            offset >= file->octets.size() ? 0 : file->octets.copy(into.data(), most, offset)));
    });
}

void Disk::cut_power(io::Random& random) {
    for (Write& write : under_way_) {
        for (std::uint64_t at = 0; at < write.octets.size(); at += sector_size) {
            if (random.chance(1, 2)) {
                write.as_given.copy(&write.file->octets[write.offset + at], sector_size, at);
            }
        }
    }
    under_way_.clear();
    gone_ = next_descriptor_;
    for (const auto& [ring, drop] : World::current().on_power_cut) {
        drop();
    }
    descriptors_.clear();
    locked_.clear();
    locks_.clear();
}

/// What io's files see of it.
struct DiskAccess {
    static base::Result<io::BlockFile> open(const std::string& path) {
        Disk& disk = Disk::current();
        const auto found = disk.files.find(path);
        if (found == disk.files.end()) {
            return failed("cannot open " + path, ENOENT);
        }
        return open(disk, found->second);
    }

    static io::BlockFile open(Disk& disk, std::shared_ptr<Disk::File> file) {
        io::BlockFile opened;
        opened.descriptor = disk.next_descriptor_++;
        opened.octets = file->octets.size();
        opened.direct = true;
        disk.descriptors_[opened.descriptor] = std::move(file);
        return opened;
    }

    static base::Result<io::BlockFile> create(const std::string& path, std::uint64_t octets) {
        Disk& disk = Disk::current();
        World& world = World::current();
        if (disk.files.contains(path)) {
            return failed("cannot open " + path, EEXIST);
        }
        if (disk.octets_used() + octets > disk.octets_max_) {
            return failed("cannot fill " + path + " with zeros", ENOSPC);
        }
        if (world.happens(world.faults().create_fails)) {
            return failed("cannot open " + path, EIO);
        }
        auto file = std::make_shared<Disk::File>();
        file->path = path;
        file->octets.assign(octets, '\0');
        disk.files[path] = file;
        return open(disk, std::move(file));
    }

    /// At once; what fails may be there in part, as with a ring's.
    static base::Result<void> write(
        int descriptor,
        const std::string& path,
        std::uint64_t offset,
        std::span<const char> octets) {
        Disk& disk = Disk::current();
        World& world = World::current();
        Disk::File& file = *disk.descriptors_.at(descriptor);
        disk.begin_write(file, octets.size(), offset);
        const bool fails = world.happens(world.faults().write_fails);
        const std::string_view given(octets.data(), octets.size());
        for (std::uint64_t at = 0; at < octets.size(); at += Disk::sector_size) {
            if (!fails || world.random().chance(1, 2)) {
                given.copy(&file.octets[offset + at], Disk::sector_size, at);
            }
        }
        return fails ? failed("cannot write to " + path, EIO) : base::Result<void>();
    }

    static base::Result<void> save(const std::string& path, std::string_view content) {
        Disk& disk = Disk::current();
        World& world = World::current();
        if (disk.octets_used() + content.size() > disk.octets_max_) {
            return failed("cannot write to " + path, ENOSPC);
        }
        if (world.happens(world.faults().create_fails)) {
            return failed("cannot open " + path, EIO);
        }
        auto file = std::make_shared<Disk::File>();
        file->path = path;
        file->octets = content;
        disk.files[path] = std::move(file);
        return {};
    }

    static base::Result<void> rename(const std::string& from, const std::string& to) {
        Disk& disk = Disk::current();
        const auto found = disk.files.find(from);
        if (found == disk.files.end()) {
            return failed("cannot rename " + from + " to " + to, ENOENT);
        }
        World& world = World::current();
        if (world.happens(world.faults().create_fails)) {
            return failed("cannot rename " + from + " to " + to, EIO);
        }
        std::shared_ptr<Disk::File> file = found->second;
        disk.files.erase(found);
        file->path = to;
        disk.files[to] = std::move(file);
        if (world.happens(world.faults().create_fails)) {
            return failed("cannot bring the folder to stable storage", EIO);
        }
        return {};
    }

    static base::Result<void> remove(const std::string& path) {
        World& world = World::current();
        if (world.happens(world.faults().remove_fails)) {
            return failed("cannot remove " + path, EIO);
        }
        return Disk::current().files.erase(path) == 1 ? base::Result<void>()
                                                      : failed("cannot remove " + path, ENOENT);
    }

    static std::uint64_t left() {
        const Disk& disk = Disk::current();
        const std::uint64_t used = disk.octets_used();
        return disk.octets_max_ - std::min(disk.octets_max_, used);
    }

    static base::Result<int> lock(const std::string& path) {
        Disk& disk = Disk::current();
        if (!disk.locked_.insert(path).second) {
            return base::Error{"another process works in the folder " + path};
        }
        disk.locks_[disk.next_descriptor_] = path;
        return disk.next_descriptor_++;
    }

    static void close(int descriptor) {
        Disk& disk = Disk::current();
        if (descriptor < disk.gone_) {
            return;  // with the power
        }
        if (const auto lock = disk.locks_.find(descriptor); lock != disk.locks_.end()) {
            disk.locked_.erase(lock->second);
            disk.locks_.erase(lock);
            return;
        }
        const auto open = disk.descriptors_.find(descriptor);
        POSTERN_ASSERT(open != disk.descriptors_.end(), "a file that is not open was closed");
        const bool busy = std::any_of(
            disk.under_way_.begin(), disk.under_way_.end(), [&](const Disk::Write& each) {
                return each.file == open->second;
            });
        POSTERN_ASSERT(!busy, "a file was closed under a write");
        disk.descriptors_.erase(open);
    }

    static const Disk::File& file(int descriptor) {
        return *Disk::current().descriptors_.at(descriptor);
    }
};

}  // namespace postern::sim

namespace postern::io {

base::Result<void> make_folder(const std::string&) {
    return {};
}

base::Result<std::vector<std::string>> list_folder(const std::string& path) {
    std::vector<std::string> names;
    for (const auto& [file, content] : sim::Disk::current().files) {
        if (file.starts_with(path + "/") && file.find('/', path.size() + 1) == std::string::npos) {
            names.push_back(file.substr(path.size() + 1));
        }
    }
    return names;
}

base::Result<std::uint64_t> free_octets(const std::string&) {
    return sim::DiskAccess::left();
}

base::Result<int> lock_folder(const std::string& path) {
    return sim::DiskAccess::lock(path);
}

base::Result<BlockFile> create_file(const std::string& path, std::uint64_t octets) {
    return sim::DiskAccess::create(path, octets);
}

base::Result<BlockFile> open_file(const std::string& path) {
    return sim::DiskAccess::open(path);
}

base::Result<void> read_file(
    const BlockFile& file, const std::string& path, std::uint64_t offset, std::span<char> into) {
    const std::string& octets = sim::DiskAccess::file(file.descriptor).octets;
    sim::World& world = sim::World::current();
    if (world.happens(world.faults().read_fails_at_start)) {
        return base::Error{"cannot read " + path + ": " + strerrordesc_np(EIO)};
    }
    if (offset + into.size() > octets.size()) {
        return base::Error{
            "cannot read " + path + ": it ends at octet " + std::to_string(octets.size())};
    }
    octets.copy(into.data(), into.size(), offset);
    return {};
}

base::Result<void> write_file(
    const BlockFile& file,
    const std::string& path,
    std::uint64_t offset,
    std::span<const char> octets) {
    return sim::DiskAccess::write(file.descriptor, path, offset, octets);
}

base::Result<void> zero_file(const BlockFile& file, const std::string& path, std::uint64_t offset) {
    const std::string zeros(file.octets - offset, '\0');
    return sim::DiskAccess::write(file.descriptor, path, offset, zeros);
}

base::Result<void> save_file(const std::string& path, std::string_view content) {
    return sim::DiskAccess::save(path, content);
}

base::Result<void> rename_file(const std::string& from, const std::string& to) {
    return sim::DiskAccess::rename(from, to);
}

base::Result<void> remove_file(const std::string& path) {
    return sim::DiskAccess::remove(path);
}

void close_file(BlockFile& file) {
    sim::DiskAccess::close(file.descriptor);
    file = {};
}

}  // namespace postern::io
