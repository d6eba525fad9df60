// The client session against any host. The first octet chooses the messages; the rest is what the
// host says, heard line by line and again octet by octet: the session must write the same, end the
// same, and give each message the same one verdict. Then all of it in one piece, where it must only
// stand.

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>

#include "../unit/smtp/host_model.h"

namespace {

using namespace postern;
using smtp::test::Message;
using smtp::test::Pools;

constexpr std::size_t pieces_max = 16;

void check(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "client_fuzz: %s\n", what);
        std::abort();
    }
}

class Traffic final : public smtp::ClientOwner {
   public:
    Traffic(Pools& pools, std::uint8_t choice) : session_(settings(), pace_, *this, pools.partial) {
        for (unsigned i = 0; i < 3; ++i) {
            std::vector<std::string> to = {"r@x"};
            if ((choice >> i) % 2 == 1) {
                to.emplace_back("q@x");
            }
            std::string content = "a\r\n.b\r\n";
            if ((choice >> (3 + i)) % 2 == 1) {
                content += std::string(10000, 'x');  // more than two outputs have pieces for
            }
            messages_.push_back(std::make_unique<Message>(pools, "s@x", to, content));
            waiting_.push_back(messages_.back().get());
        }
        gone_ = (choice & 64) != 0 ? messages_[1].get() : nullptr;
        give_up_ = (choice & 128) != 0;
        messages_[0]->made.waits = give_up_;
        messages_[2]->made.waits = gone_ != nullptr;
    }

    void hear(std::string_view said) {
        now_ += std::chrono::microseconds(10);
        session_.received(said, now_);
        write();
    }

    std::string end() {
        session_.ended();
        for (const auto& message : messages_) {
            const bool waits =
                std::find(waiting_.begin(), waiting_.end(), message.get()) != waiting_.end();
            check(message->released == (waits ? 0 : 1), "a message was not released once");
            check(
                message->verdicts.size() + (message->given_up ? 1 : 0) == (waits ? 0U : 1U),
                "a message has no verdict, or two");
            log_ += "\n" + message->reply;
            for (const auto verdict : message->verdicts) {
                log_ += " " + std::to_string(static_cast<int>(verdict));
            }
        }
        return log_ + "\nending " + std::to_string(static_cast<int>(session_.ending()));
    }

   private:
    static const smtp::ClientSettings& settings() {
        static const smtp::ClientSettings all = [] {
            smtp::ClientSettings s;
            s.helo = "me";
            s.pipeline_max = 2;
            return s;
        }();
        return all;
    }

    void write() {
        for (;;) {
            smtp::Output output(pieces_, room_);
            session_.write(output, now_);
            if (output.empty()) {
                return;
            }
            for (const iovec& piece : output.pieces()) {
                log_.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
            }
            session_.sent(now_);
            if (give_up_ && last_ != nullptr && last_->verdicts.empty() && last_->released == 0) {
                give_up_ = false;
                last_->given_up = true;
                session_.give_up(*last_);
            }
        }
    }

    smtp::Transfer* next() override {
        if (waiting_.empty()) {
            return nullptr;
        }
        last_ = waiting_.front();
        waiting_.pop_front();
        return last_;
    }

    bool sender_gone(smtp::Transfer& transfer) override { return &transfer == gone_; }

    void held(smtp::Transfer& transfer) override {
        check(transfer.held(), "a message is held, and says that it is not");
        if (&transfer != messages_[0].get()) {  // that one may wait until it is given up
            smtp::ClientSession::go_on(transfer);
        }
    }

    void settled(smtp::Transfer& transfer, const smtp::Verdict& verdict) override {
        auto& message = static_cast<Message&>(transfer);
        check(message.released == 0, "a verdict behind the release");
        message.verdicts.push_back(verdict.kind);
        message.reply = smtp::test::text_of(verdict.reply);
        for (const char c : verdict.reply.text) {
            check(
                (c >= ' ' && c <= '~') || c == '\n',
                "a sender would be told what is not printable");
        }
    }

    void released(smtp::Transfer& transfer) override { ++static_cast<Message&>(transfer).released; }

    smtp::Pace pace_;
    base::Instant now_{std::chrono::hours(1)};
    std::vector<std::unique_ptr<Message>> messages_;
    std::deque<Message*> waiting_;
    Message* gone_ = nullptr;
    Message* last_ = nullptr;
    bool give_up_ = false;
    std::string log_;
    std::array<iovec, pieces_max> pieces_;
    std::array<char, 4096> room_;
    smtp::ClientSession session_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Pools pools(256);
    if (size == 0) {
        return 0;
    }
    const std::string_view said(reinterpret_cast<const char*>(data) + 1, size - 1);
    const auto hear = [&](auto next_end) {
        Traffic traffic(pools, data[0]);
        for (std::size_t begin = 0; begin < said.size();) {
            const std::size_t end = next_end(begin);
            traffic.hear(said.substr(begin, end - begin));
            begin = end;
        }
        return traffic.end();
    };
    const std::string by_line = hear(
        [&](std::size_t begin) { return std::min(said.find('\n', begin), said.size() - 1) + 1; });
    const std::string by_octet = hear([](std::size_t begin) { return begin + 1; });
    check(by_line == by_octet, "how the octets came made a difference");
    hear([&](std::size_t) { return said.size(); });
    check(pools.partial.used() == 0, "a block was kept");
    return 0;
}
