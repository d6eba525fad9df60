#pragma once

#include <cstddef>

#include "postern/base/assert.h"

namespace postern::base {

/// A link that is embedded in what a list holds; `Tag` tells links of one object apart. Unlinks
/// itself when destroyed.
template <class Tag = void>
class ListLink {
   public:
    ListLink() = default;
    ListLink(const ListLink&) = delete;
    ListLink& operator=(const ListLink&) = delete;

    ~ListLink() { unlink(); }

    bool linked() const { return next_ != this; }

    void unlink() {
        previous_->next_ = next_;
        next_->previous_ = previous_;
        next_ = previous_ = this;
    }

   private:
    template <class T, class U>
    friend class List;
    ListLink* next_ = this;
    ListLink* previous_ = this;
};

/// Doubly linked, owns nothing, allocates nothing. T derives from ListLink<Tag>. One thread.
template <class T, class Tag = void>
class List {
   public:
    using Link = ListLink<Tag>;

    bool empty() const { return !head_.linked(); }

    T* front() { return empty() ? nullptr : static_cast<T*>(head_.next_); }

    T* back() { return empty() ? nullptr : static_cast<T*>(head_.previous_); }

    /// The one behind `item`, or nullptr.
    T* next(T& item) {
        Link* link = static_cast<Link&>(item).next_;
        return link == &head_ ? nullptr : static_cast<T*>(link);
    }

    void push_back(T& item) { insert_before(head_, item); }

    void push_front(T& item) { insert_before(*head_.next_, item); }

    T* pop_front() {
        T* item = front();
        if (item != nullptr) {
            static_cast<Link&>(*item).unlink();
        }
        return item;
    }

   private:
    static void insert_before(Link& where, T& item) {
        Link& link = item;
        POSTERN_ASSERT(!link.linked(), "an item can be in one list of a kind at a time");
        link.next_ = &where;
        link.previous_ = where.previous_;
        where.previous_->next_ = &link;
        where.previous_ = &link;
    }

    Link head_;
};

}  // namespace postern::base
