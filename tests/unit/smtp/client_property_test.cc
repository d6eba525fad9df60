#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>

#include "host_model.h"

namespace postern::smtp {
namespace {

using namespace std::chrono_literals;
using test::Delivery;
using test::HostModel;
using test::Message;
using test::Pools;
using test::Random;

// Runs messages through sessions, one after the other, against model hosts, until each message has
// its verdict.
class Traffic final : public ClientOwner {
   public:
    Traffic(std::uint64_t seed, Pools& pools) : random_{seed}, pools_(pools) {}

    void go() {
        make_messages();
        make_manners();
        for (int connection = 0; !waiting_.empty(); ++connection) {
            ASSERT_LT(connection, 2000) << "no end in sight";
            connect();
            if (testing::Test::HasFatalFailure()) {
                return;
            }
        }
        check();
    }

   private:
    void make_messages() {
        settings_.helo = "me";
        settings_.pipeline_max = static_cast<std::uint32_t>(1 + random_.below(8));
        const std::size_t count = 1 + random_.below(12);
        for (std::size_t i = 0; i < count; ++i) {
            std::vector<std::string> to;
            const std::size_t recipients = random_.chance(60) ? 1 : 1 + random_.below(5);
            for (std::size_t r = 0; r < recipients; ++r) {
                to.push_back("r" + std::to_string(r) + "@m" + std::to_string(i));
            }
            std::string content = "Received: x\r\n";
            static constexpr const char* parts[] = {
                "\r\n",
                ".",
                "..",
                "MAIL FROM:<evil@x>\r\n",
                "text",
                ".\r\n",
                "\r\n.\r\n",
                "QUIT\r\n"};
            for (std::size_t n = random_.below(30); n > 0; --n) {
                content += parts[random_.below(std::size(parts))];
            }
            messages_.push_back(std::make_unique<Message>(
                pools_, "s" + std::to_string(i) + "@x", to, content, &random_));
            messages_.back()->made.divide = static_cast<mail::Divide>(random_.below(3));
            if (random_.chance(20)) {
                messages_.back()->made.waits = true;
                messages_.back()->made.divide = mail::Divide::always;
            }
            waiting_.push_back(messages_.back().get());
        }
    }

    void make_manners() {
        manners_.pipelining = random_.chance(70);
        manners_.chunking = random_.chance(50);
        manners_.helo_only = random_.chance(10);
        if (manners_.helo_only) {
            manners_.pipelining = manners_.chunking = false;
        }
        manners_.refuse_percent = random_.chance(50) ? 0 : 25;
        manners_.close_percent = random_.chance(70) ? 0 : 4;
        manners_.garbage_percent = random_.chance(70) ? 0 : 3;
        cut_percent_ = random_.chance(60) ? 0 : 3;
        gone_percent_ = random_.chance(70) ? 0 : 10;
    }

    // One connection, from greeting to close.
    void connect() {
        HostModel host(manners_, random_);
        ClientSession session(settings_, pace_, *this, pools_.partial);
        std::vector<iovec> pieces(ClientSession::pieces_min + random_.below(20));
        std::vector<char> room(ClientSession::command_octets_max + random_.below(2000));
        std::string under_way;  // given to the kernel, not yet all with the host
        bool sending = false;
        bool quitting = false;
        for (;;) {
            now_ += 1ms;
            if (session.ending() != ClientSession::Ending::none || random_.chance(cut_percent_)) {
                break;
            }
            if (held_ != nullptr && random_.chance(20)) {
                decide(session);
            }
            if (!sending) {
                Output output(pieces, room);
                session.write(output, now_);
                for (const iovec& piece : output.pieces()) {
                    ASSERT_GT(piece.iov_len, 0U);
                    under_way.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
                }
                sending = !output.empty();
                if (session.ending() != ClientSession::Ending::none) {
                    break;
                }
            }
            if (sending && under_way.empty()) {
                session.sent(now_);
                sending = false;
                continue;
            }
            if (!under_way.empty() && (host.out.empty() || random_.chance(50))) {
                const std::size_t size = 1 + random_.below(under_way.size());
                host.feed(std::string_view(under_way).substr(0, size));
                under_way.erase(0, size);
                ASSERT_EQ(host.breach, "");
            } else if (!host.out.empty()) {
                const std::size_t size = 1 + random_.below(host.out.size());
                std::string bytes = host.out.substr(0, size);
                host.out.erase(0, size);
                session.received(bytes, now_);
                std::fill(bytes.begin(), bytes.end(), '#');  // its views end here
            } else if (host.closed) {
                break;
            } else if (
                session.idle() && !quitting &&
                (waiting_.empty() || !session.may_take(now_))) {  // it may have had enough
                session.quit();
                quitting = true;
            } else if (!sending) {
                ASSERT_TRUE(!session.idle() || !waiting_.empty()) << "nothing moves";
                ASSERT_GT(++stalls_, 0);
                ASSERT_LT(stalls_, 10000) << "nothing moves behind " << host.commands.back();
            }
        }
        if (!under_way.empty()) {
            // Of what was under way the host may have read a part, but not the end of it.
            host.feed(std::string_view(under_way).substr(0, random_.below(under_way.size())));
            session.send_failed();
        }
        session.ended();
        for (const Delivery& delivery : host.deliveries) {
            ++delivered_[delivery.from];
            deliveries_.push_back(delivery);
        }
    }

    // What others are waited for says: the body goes, or nobody has it.
    void decide(ClientSession& session) {
        Message& message = *std::exchange(held_, nullptr);
        ASSERT_TRUE(message.held());
        if (random_.chance(70)) {
            message.made.waits = random_.chance(50);  // it matters no more here
            ClientSession::go_on(message);
        } else {
            EXPECT_FALSE(session.give_up(message));
            message.verdicts.push_back(Verdict::Kind::divided);
        }
        EXPECT_FALSE(message.held());
    }

    // A message is nowhere or where its verdict says, whole, once.
    void check() {
        for (const auto& message : messages_) {
            const std::string from(message->made.envelope.reverse_path);
            ASSERT_EQ(message->verdicts.size(), 1U) << from;
            const int count = delivered_[from];
            switch (message->verdicts[0]) {
                case Verdict::Kind::accepted:
                    EXPECT_EQ(count, 1) << from;
                    break;
                case Verdict::Kind::unknown:
                    EXPECT_LE(count, 1) << from;
                    break;
                case Verdict::Kind::refused:
                case Verdict::Kind::divided:
                case Verdict::Kind::dropped:
                case Verdict::Kind::host_trouble:
                    EXPECT_EQ(count, 0) << from << " " << message->reply;
                    break;
                case Verdict::Kind::again:
                    ADD_FAILURE();
            }
        }
        for (const Delivery& delivery : deliveries_) {
            const std::size_t index = std::stoul(delivery.from.substr(1));
            const Message& message = *messages_[index];
            std::string expected = message.body;
            if (!manners_.chunking && !expected.ends_with("\r\n")) {
                expected += "\r\n";
            }
            EXPECT_EQ(delivery.body, expected);
            std::vector<std::string> to;
            for (const mail::Recipient* r = message.made.envelope.first_recipient; r != nullptr;
                 r = r->next) {
                if (r->answer.code < 400) {
                    to.emplace_back(r->address);
                }
            }
            EXPECT_EQ(delivery.to, to);
        }
        EXPECT_EQ(pools_.partial.used(), 0U);
    }

    Transfer* next() override {
        if (waiting_.empty()) {
            return nullptr;
        }
        Message* message = waiting_.front();
        waiting_.pop_front();
        return message;
    }

    bool sender_gone(Transfer&) override { return random_.chance(gone_percent_); }

    void held(Transfer& transfer) override {
        EXPECT_EQ(held_, nullptr) << "behind one that is held nothing goes";
        held_ = static_cast<Message*>(&transfer);
        EXPECT_TRUE(held_->made.waits);
    }

    void settled(Transfer& transfer, const Verdict& verdict) override {
        auto& message = static_cast<Message&>(transfer);
        if (held_ == &message) {
            held_ = nullptr;
            EXPECT_EQ(verdict.kind, Verdict::Kind::again);
        }
        EXPECT_EQ(message.released, 0);
        check_answers(message.made, verdict);
        if (verdict.kind == Verdict::Kind::again ||
            (is_undelivered(verdict.kind) && random_.chance(20))) {  // a later attempt
            again_.insert(&transfer);
            return;
        }
        message.verdicts.push_back(verdict.kind);
        message.reply = test::text_of(verdict.reply);
    }

    static bool is_undelivered(Verdict::Kind kind) {
        return kind == Verdict::Kind::refused || kind == Verdict::Kind::divided ||
               kind == Verdict::Kind::dropped;
    }

    /// Each recipient has its own, where the verdict rests on them.
    static void check_answers(const mail::Submission& submission, const Verdict& verdict) {
        std::uint32_t accepted = 0;
        std::uint32_t temporary = 0;
        std::uint32_t permanent = 0;
        for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
             r = r->next) {
            accepted += r->answer.positive() ? 1 : 0;
            temporary += r->answer.temporary() ? 1 : 0;
            permanent += r->answer.permanent() ? 1 : 0;
            EXPECT_NE(r->answer.code >= 400, r->answer.text.empty());
        }
        const std::uint32_t all = submission.envelope.recipient_count;
        switch (verdict.kind) {
            case Verdict::Kind::accepted:
                EXPECT_GE(accepted, 1U);
                EXPECT_EQ(accepted + temporary + permanent, all);
                EXPECT_TRUE(accepted == all || submission.divide != mail::Divide::never);
                EXPECT_TRUE(permanent == 0 || submission.divide == mail::Divide::always);
                break;
            case Verdict::Kind::divided:
                EXPECT_EQ(accepted + temporary + permanent, all);
                EXPECT_TRUE(accepted > 0 && accepted < all);
                EXPECT_NE(submission.divide, mail::Divide::always);
                EXPECT_TRUE(permanent > 0 || submission.divide == mail::Divide::never);
                break;
            case Verdict::Kind::refused:
                if (temporary + permanent == all) {
                    EXPECT_EQ(verdict.reply.temporary(), temporary > 0);
                }
                break;
            case Verdict::Kind::dropped:
            case Verdict::Kind::unknown:  // in one flight all of it may go without an answer
                break;
            case Verdict::Kind::host_trouble:
            case Verdict::Kind::again:
                EXPECT_EQ(accepted + temporary + permanent, 0U);
                break;
        }
    }

    void released(Transfer& transfer) override {
        auto& message = static_cast<Message&>(transfer);
        if (again_.erase(&transfer) == 1) {
            message.made.envelope.forget_answers();
            waiting_.push_front(&message);
            return;
        }
        ++message.released;
        EXPECT_EQ(message.released, 1);
        // What is released is gone: nothing may be sent of it any more.
        EXPECT_EQ(message.verdicts.size(), 1U);
    }

    Random random_;
    Pools& pools_;
    ClientSettings settings_;
    Pace pace_;
    HostModel::Manners manners_;
    unsigned cut_percent_ = 0;
    unsigned gone_percent_ = 0;
    int stalls_ = 0;
    base::Instant now_{1h};
    std::vector<std::unique_ptr<Message>> messages_;
    std::deque<Message*> waiting_;
    std::map<std::string, int> delivered_;
    std::vector<Delivery> deliveries_;
    Message* held_ = nullptr;
    std::set<Transfer*> again_;  // to be handed out anew once released
};

TEST(ClientSessionProperty, EveryMessageIsWhereItsVerdictSaysWholeAndOnce) {
    Pools pools;
    for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Traffic traffic(seed, pools);
        traffic.go();
        if (HasFailure()) {
            return;
        }
    }
}

}  // namespace
}  // namespace postern::smtp
