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

/// All of a worker's kept messages by ID, which is by time: nearly all come in at the end. Behind a
/// start they do not: a few at a time are sorted in by themselves, and then all of them at once.
class KeptIndex {
   public:
    std::size_t size() const { return size_; }

    void insert(spool::Kept& kept) {
        const Row row{kept.id(), &kept};
        if (rows_.empty() || rows_.back().id < row.id) {
            rows_.push_back(row);
        } else {
            late_.insert(lower_bound(late_, row.id), row);
            if (late_.size() == late_max) {
                take_late_ones_in();
            }
        }
        ++size_;
    }

    /// REQUIRES: it was inserted.
    void erase(spool::Kept& kept) {
        --size_;
        const auto row = lower_bound(rows_, kept.id());
        if (row == rows_.end() || row->kept != &kept) {
            const auto late = lower_bound(late_, kept.id());
            POSTERN_ASSERT(
                late != late_.end() && late->kept == &kept, "a message is not in the index");
            late_.erase(late);
            return;
        }
        row->kept = nullptr;
        // Gaps are closed when they are most of it: each costs two steps in all.
        if (rows_.size() > 64 && size_ < rows_.size() / 2) {
            std::erase_if(rows_, [](const Row& one) { return one.kept == nullptr; });
        } else if (size_ == 0) {
            rows_.clear();
        }
    }

    /// The first with this ID or a later one; nullptr: there is none.
    spool::Kept* at_or_after(const journal::Id& id) {
        auto row = lower_bound(rows_, id);
        while (row != rows_.end() && row->kept == nullptr) {
            ++row;
        }
        const auto late = lower_bound(late_, id);
        if (late == late_.end()) {
            return row == rows_.end() ? nullptr : row->kept;
        }
        return row == rows_.end() || late->id < row->id ? late->kept : row->kept;
    }

    /// nullptr: it is not here.
    spool::Kept* find(const journal::Id& id) {
        for (std::vector<Row>* const rows : {&rows_, &late_}) {
            const auto row = lower_bound(*rows, id);
            if (row != rows->end() && row->id == id && row->kept != nullptr) {
                return row->kept;
            }
        }
        return nullptr;
    }

    /// In no order.
    template <class Each>
    void for_each(Each each) {
        for (const std::vector<Row>* const rows : {&rows_, &late_}) {
            for (const Row& row : *rows) {
                if (row.kept != nullptr) {
                    each(*row.kept);
                }
            }
        }
    }

   private:
    struct Row {
        journal::Id id;
        spool::Kept* kept;  // nullptr: a gap
    };

    static constexpr std::size_t late_max = 4096;

    static bool is_before(const Row& a, const Row& b) { return a.id < b.id; }

    static std::vector<Row>::iterator lower_bound(std::vector<Row>& rows, const journal::Id& id) {
        return std::lower_bound(rows.begin(), rows.end(), Row{id, nullptr}, is_before);
    }

    void take_late_ones_in() {
        std::erase_if(rows_, [](const Row& one) { return one.kept == nullptr; });
        const auto in_order = static_cast<std::ptrdiff_t>(rows_.size());
        rows_.insert(rows_.end(), late_.begin(), late_.end());
        std::inplace_merge(rows_.begin(), rows_.begin() + in_order, rows_.end(), is_before);
        late_.clear();
    }

    std::vector<Row> rows_;
    std::vector<Row> late_;  // that came when later ones were there; no gaps
    std::size_t size_ = 0;
};

}  // namespace postern::shard
