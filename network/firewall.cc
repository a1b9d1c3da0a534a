#include "network/firewall.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>

#include <memory>

#include "base/error.h"
#include "base/process.h"
#include "base/text.h"
#include "network/programs.h"

namespace img::network {
namespace {

struct FreeSocket {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};

struct FreeMessage {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};

Output runNft(const std::string& nft, std::vector<std::string> arguments, std::string script) {
  Program program;
  program.argv = std::move(arguments);
  program.argv.insert(program.argv.begin(), nft);
  program.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  program.input = std::move(script);
  return runProgram(program);
}

}  // namespace

std::string firewallScript(const std::string& bridge, const Subnet& subnet) {
  // "add" first: deleting a table that is not there is an error, and the script is one transaction
  // (nft(8)). Base chains of other tables still have their say: an accept here ends only this
  // chain, so the host's own rules hold.
  return fmt::format(
      "add table ip {0}\n"
      "delete table ip {0}\n"
      "table ip {0} {{\n"
      "  chain postrouting {{\n"
      "    type nat hook postrouting priority srcnat; policy accept;\n"
      "    ip saddr {1} ip daddr != {1} ip daddr != 224.0.0.0/4 oifname != \"{0}\" masquerade\n"
      "  }}\n"
      "  chain forward {{\n"
      "    type filter hook forward priority filter; policy accept;\n"
      "    oifname \"{0}\" ct state established,related accept\n"
      "    oifname \"{0}\" iifname \"{0}\" accept\n"
      "    oifname \"{0}\" drop\n"
      "  }}\n"
      "}}\n",
      bridge, subnet.str());
}

std::string removalScript(const std::string& bridge) {
  return fmt::format("add table ip {0}\ndelete table ip {0}\n", bridge);
}

std::optional<std::string> findNft() {
  return findHostProgram("nft");
}

void loadFirewall(const std::string& nft, const std::string& script) {
  const Output output = runNft(nft, {"-f", "-"}, script);
  if (output.status.code == 0) return;
  throw Error{Kind::failed, "nft did not take the rules of the bridge"}.why(
      text::escape(text::trim(output.err)));
}

std::optional<std::string> findDroppingChain(const std::string& nft, const std::string& bridge) {
  std::vector<std::string> table;  // "table", family, name
  std::string chain;
  for (const std::string& line : text::split(runNft(nft, {"list", "chains"}, "").out, '\n')) {
    std::vector<std::string> words = text::split(text::trim(line), ' ');
    if (words.size() == 4 && words[0] == "table")
      table = std::move(words);
    else if (words.size() == 3 && words[0] == "chain")
      chain = words[1];
    if (line.find("hook forward ") == line.npos || line.find("policy drop;") == line.npos) continue;
    if (table.size() != 4 || (table[1] != "ip" && table[1] != "inet")) continue;
    const Output rules = runNft(nft, {"list", "table", table[1], table[2]}, "");
    if (rules.out.find('"' + bridge + '"') != std::string::npos) continue;
    return text::escape(fmt::format("{} {} {}", table[1], table[2], chain));
  }
  return std::nullopt;
}

// nfnetlink has no face in the part of libnl that is linked here, and one question needs no more.
bool hasFirewall(const std::string& bridge) {
  const std::unique_ptr<nl_sock, FreeSocket> socket{nl_socket_alloc()};
  if (!socket || nl_connect(socket.get(), NETLINK_NETFILTER) < 0) return false;
  const std::unique_ptr<nl_msg, FreeMessage> message{
      nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_REQUEST | NLM_F_ACK)};
  if (!message) return false;
  nfgenmsg header{};
  header.nfgen_family = AF_INET;  // NFPROTO_IPV4 has the same number
  header.version = NFNETLINK_V0;
  if (nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO) < 0) return false;
  if (nla_put_string(message.get(), NFTA_TABLE_NAME, bridge.c_str()) < 0) return false;
  if (nl_send_auto(socket.get(), message.get()) < 0) return false;
  return nl_wait_for_ack(socket.get()) >= 0;
}

}  // namespace img::network
