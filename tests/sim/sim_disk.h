#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "postern/io/random.h"

namespace postern::sim {

/// Files that outlive a world: what io's files (io/file.h) and a simulated ring's writes and reads
/// are about, in whichever World exists. A write that was answered is on the disk; of one that was
/// not, any sectors may be, and after `cut_power` that is decided. One thread.
///
/// It is stricter than a kernel: two writes at once to one place, octets that change while they are
/// being written, and a second write to a block in one life of a file (its first block begins a new
/// one) are assertions.
class Disk {
   public:
    explicit Disk(std::uint64_t octets_max = std::uint64_t{1} << 40);
    ~Disk();
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;
    /// The one that exists. REQUIRES: there is one.
    static Disk& current();

    static constexpr std::size_t sector_size = 512;
    static constexpr int first_descriptor = 1'000'000;

    static bool is_descriptor(int descriptor) { return descriptor >= first_descriptor; }

    struct File {
        std::string path;
        std::string octets;              // on the disk
        std::set<std::uint64_t> blocks;  // written in this life
    };

    // --- for the ring ----------------------------------------------------------------------------
    /// `done` is called with octets or a negative errno, as an event of the world.
    void write(
        int descriptor,
        std::span<const char> octets,
        std::uint64_t offset,
        std::function<void(std::int32_t)> done);
    void read(
        int descriptor,
        std::span<char> into,
        std::uint64_t offset,
        std::function<void(std::int32_t)> done);

    // --- for tests -------------------------------------------------------------------------------
    /// The process is gone, and with it every descriptor, lock and operation, those of rings too:
    /// what is left of it may only be destroyed, and the world last. What was being written may be
    /// there, sector by sector.
    void cut_power(io::Random& random);

    /// So many octets may be in all files together.
    void set_octets_max(std::uint64_t octets) { octets_max_ = octets; }

    /// While they are held, no write of a ring ends.
    void hold_writes(bool held) { held_ = held; }

    std::uint64_t writes() const { return writes_; }

    std::size_t open_descriptors() const { return descriptors_.size(); }

    std::map<std::string, std::shared_ptr<File>> files;  // by path

   private:
    friend struct DiskAccess;  // of io's files (sim_disk.cc)

    struct Write {
        std::shared_ptr<File> file;
        std::span<const char> octets;
        std::uint64_t offset;
        std::string as_given;
        std::function<void(std::int32_t)> done;
    };

    void begin_write(File& file, std::uint64_t size, std::uint64_t offset);
    void end_write(std::list<Write>::iterator write);
    std::uint64_t octets_used() const;

    std::uint64_t octets_max_;
    std::uint64_t writes_ = 0;
    bool held_ = false;
    std::map<int, std::shared_ptr<File>> descriptors_;  // null: a folder that is locked
    std::set<std::string> locked_;
    std::map<int, std::string> locks_;
    int next_descriptor_ = first_descriptor;
    int gone_ = 0;  // descriptors under this one went when power was cut
    std::list<Write> under_way_;
};

}  // namespace postern::sim
