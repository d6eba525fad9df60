#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "postern/base/assert.h"
#include "postern/spool/kept.h"

/// Orders that kept messages stand in, by pointers alone. One worker's thread.
namespace postern::shard {

/// A binary heap; a message is in one heap at a time, and knows its place there
/// (Kept::schedule.index). `Before`: which of two comes first.
template <class Before>
class KeptHeap {
   public:
    bool empty() const { return heap_.empty(); }

    std::size_t size() const { return heap_.size(); }

    spool::Kept& top() const { return *heap_.front(); }

    void push(spool::Kept& kept) {
        heap_.push_back(&kept);
        up(heap_.size() - 1);
    }

    void pop() { remove(top()); }

    /// REQUIRES: it is in this heap.
    void remove(spool::Kept& kept) {
        const std::size_t index = kept.schedule.index;
        POSTERN_ASSERT(
            index < heap_.size() && heap_[index] == &kept, "a message is not where it should be");
        spool::Kept* const last = heap_.back();
        heap_.pop_back();
        if (last != &kept) {
            place(index, last);
            up(index);
            down(last->schedule.index);
        }
    }

    /// Calls `each` for all and is empty then.
    template <class Each>
    void take_all(Each each) {
        for (spool::Kept* kept : std::exchange(heap_, {})) {
            each(*kept);
        }
    }

   private:
    void place(std::size_t index, spool::Kept* kept) {
        heap_[index] = kept;
        kept->schedule.index = static_cast<std::uint32_t>(index);
    }

    void up(std::size_t index) {
        spool::Kept* const kept = heap_[index];
        for (; index > 0 && Before()(*kept, *heap_[(index - 1) / 2]); index = (index - 1) / 2) {
            place(index, heap_[(index - 1) / 2]);
        }
        place(index, kept);
    }

    void down(std::size_t index) {
        spool::Kept* const kept = heap_[index];
        for (std::size_t child = 2 * index + 1; child < heap_.size(); child = 2 * index + 1) {
            if (child + 1 < heap_.size() && Before()(*heap_[child + 1], *heap_[child])) {
                ++child;
            }
            if (!Before()(*heap_[child], *kept)) {
                break;
            }
            place(index, heap_[child]);
            index = child;
        }
        place(index, kept);
    }

    std::vector<spool::Kept*> heap_;
};

/// All of a worker's kept messages by ID, which is by time: nearly all come in at the end.
class KeptIndex {
   public:
    std::size_t size() const { return size_; }

    void insert(spool::Kept& kept) {
        const Row row{kept.id(), &kept};
        if (rows_.empty() || rows_.back().id < row.id) {
            rows_.push_back(row);
        } else {
            rows_.insert(lower_bound(row.id), row);
        }
        ++size_;
    }

    /// REQUIRES: it was inserted.
    void erase(spool::Kept& kept) {
        const auto row = lower_bound(kept.id());
        POSTERN_ASSERT(row != rows_.end() && row->kept == &kept, "a message is not in the index");
        row->kept = nullptr;
        --size_;
        // Gaps are closed when they are most of it: each costs two steps in all.
        if (rows_.size() > 64 && size_ < rows_.size() / 2) {
            std::erase_if(rows_, [](const Row& one) { return one.kept == nullptr; });
        } else if (size_ == 0) {
            rows_.clear();
        }
    }

    /// The first with this ID or a later one; nullptr: there is none.
    spool::Kept* at_or_after(const journal::Id& id) {
        for (auto row = lower_bound(id); row != rows_.end(); ++row) {
            if (row->kept != nullptr) {
                return row->kept;
            }
        }
        return nullptr;
    }

    /// nullptr: it is not here.
    spool::Kept* find(const journal::Id& id) {
        const auto row = lower_bound(id);
        return row != rows_.end() && row->id == id ? row->kept : nullptr;
    }

    template <class Each>
    void for_each(Each each) {
        for (const Row& row : rows_) {
            if (row.kept != nullptr) {
                each(*row.kept);
            }
        }
    }

   private:
    struct Row {
        journal::Id id;
        spool::Kept* kept;  // nullptr: a gap
    };

    std::vector<Row>::iterator lower_bound(const journal::Id& id) {
        return std::lower_bound(
            rows_.begin(), rows_.end(), id, [](const Row& row, const journal::Id& wanted) {
                return row.id < wanted;
            });
    }

    std::vector<Row> rows_;
    std::size_t size_ = 0;
};

}  // namespace postern::shard
