"""The fixed texts of digests and alerts, in English and Chinese."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.model import ChangeKind, Outcome
from pipeline.settings import Language
from pipeline.store.mail.alerts import AlertKind


@dataclass(frozen=True)
class Wording:
    """The fixed texts of digests in one language. Texts with {…} are templates for str.format()."""

    lang: str
    counts: dict[ChangeKind, str]
    headings: dict[ChangeKind, str]
    comma: str
    colon: str
    files: str
    failed: str
    doubtful: str
    nothing: str
    more: str
    unseen: str
    rendered_with_less: str
    built_again: str
    more_attached: str
    downloads: str
    not_attached: str
    kept_at: str
    program: str
    attached: str
    in_part: str
    part: str
    problems: str
    failed_runs: str
    recovered: str
    suspect: str
    rejected: str
    rejected_of: str
    fewer: str
    outcomes: dict[Outcome, str]
    attachments: str
    rows_left_out: str
    footer: str
    period: str
    date: str
    chart: str


ENGLISH = Wording(
    lang="en",
    counts={ChangeKind.NEW: "{n:,} new", ChangeKind.CHANGED: "{n:,} changed", ChangeKind.GONE: "{n:,} gone",
            ChangeKind.BACK: "{n:,} back"},
    headings={ChangeKind.NEW: "New", ChangeKind.CHANGED: "Changed", ChangeKind.GONE: "Gone", ChangeKind.BACK: "Back"},
    comma=", ", colon=": ",
    files="{n:,} downloaded",
    failed="{spiders} failed",
    doubtful="{spiders} suspect",
    nothing="nothing new",
    more="and {n:,} more",
    unseen="changed, but not in the visible text",
    rendered_with_less="This digest shows less than usual, because it could not be rendered completely: {why}",
    built_again="This mail has less than usual, because the mail server refused the whole digest: {why}",
    more_attached="and {n:,} more, all in the attached {name}",
    downloads="Downloads",
    not_attached="not attached",
    kept_at="stored as {key}",
    program="not attached, because mail servers refuse programs and scripts",
    attached="attached",
    in_part="attached to mail {n} of {total}",
    part="The attachments of this digest came in {total} mails; this is mail {n}.",
    problems="Problems",
    failed_runs="{n} of {total} runs failed",
    recovered="the last run succeeded",
    suspect="the last run is suspect, so no items are reported as gone",
    rejected="{n:,} rejected",
    rejected_of="items rejected: {n:,}; to list them, run `pipeline items {spider} --rejects`",
    fewer="`{field}` is filled in {n:,} of {total:,} items, usually in {share}",
    outcomes={Outcome.FAILED: "failed", Outcome.TIMED_OUT: "exceeded its time limit", Outcome.KILLED: "was killed",
              Outcome.ABANDONED: "was interrupted"},
    attachments="Attachments",
    rows_left_out="the spreadsheet is full; {n} changes are not in the spreadsheet",
    footer="You receive this mail because the digest “{name}” lists your address.",
    period="{start} to {end}",
    date="%a %d %b %Y %H:%M",
    chart="{field} since {start}: {first} → {last}, lowest {low}, highest {high}",
)

CHINESE = Wording(
    lang="zh",
    counts={ChangeKind.NEW: "新增 {n} 项", ChangeKind.CHANGED: "变化 {n} 项", ChangeKind.GONE: "消失 {n} 项",
            ChangeKind.BACK: "重现 {n} 项"},
    headings={ChangeKind.NEW: "新增", ChangeKind.CHANGED: "变化", ChangeKind.GONE: "消失", ChangeKind.BACK: "重现"},
    comma="，", colon="：",
    files="下载 {n} 个文件",
    failed="{spiders} 运行失败",
    doubtful="{spiders} 结果可疑",
    nothing="没有新内容",
    more="另有 {n} 项",
    unseen="有变化，但不在可见的文字中",
    rendered_with_less="本摘要无法按设置生成，因此内容有所减少：{why}",
    built_again="邮件服务器拒收了完整的摘要，因此本邮件的内容有所减少：{why}",
    more_attached="另有 {n} 项，完整内容见附件 {name}",
    downloads="下载的文件",
    not_attached="未附上",
    kept_at="保存在 {key}",
    program="程序或脚本会被邮件服务器拒收，因此未附上",
    attached="已附上",
    in_part="附在第 {n} 封邮件中（共 {total} 封）",
    part="本摘要的附件分 {total} 封邮件发送，这是第 {n} 封。",
    problems="有些运行不顺利",
    failed_runs="{total} 次运行中 {n} 次失败",
    recovered="最近一次已成功",
    suspect="结果可疑，因此没有条目被标为消失",
    rejected="{n} 项未通过检查",
    rejected_of="{n} 个条目未通过检查，已另存，可用 `pipeline items {spider} --rejects` 查看",
    fewer="{total} 个条目中只有 {n} 个有 `{field}`，平时为 {share}",
    outcomes={Outcome.FAILED: "失败", Outcome.TIMED_OUT: "超时", Outcome.KILLED: "被终止", Outcome.ABANDONED: "中断"},
    attachments="附件",
    rows_left_out="工作表行数已满，缺少 {n} 项变化",
    footer="您收到此邮件，是因为摘要“{name}”的收件人中有您的地址。",
    period="{start} 至 {end}",
    date="%Y-%m-%d %H:%M",
    chart="{field}（自 {start} 起）：{first} → {last}，最低 {low}，最高 {high}",
)

WORDINGS: dict[Language, Wording] = {"en": ENGLISH, "zh": CHINESE}


@dataclass(frozen=True)
class AlertWording:
    """The fixed texts of alerts in one language. Texts with {…} are templates for str.format()."""

    lang: str
    alert: str
    titles: dict[AlertKind, str]
    failed_once: str
    over: dict[AlertKind, str]
    over_but_suspect: str
    removed: str
    since: str
    lasted: str
    last_good: str
    last_run: str
    run: str
    never: str
    message: str
    cookie: str
    ends: str
    what_to_do: str
    bring_in: str
    by_itself: str
    fix: str
    rules_proposed: str
    rules_applied: str
    rules_not_applied: str
    no_rules: str
    log: str
    more: str
    footer: str
    colon: str
    comma: str


ALERT_WORDINGS: dict[Language, AlertWording] = {
    "en": AlertWording(
        lang="en", alert="alert",
        titles={AlertKind.FAILING: "{spider} failed {n} times in a row",
                AlertKind.SUSPECT: "{spider} is suspect: {reason}",
                AlertKind.LATE: "{spider} is late: a run was due, but has not succeeded",
                AlertKind.LOGIN: "the login of {spider} expires soon",
                AlertKind.DIGEST: "the digest {spider} cannot be rendered completely"},
        failed_once="{spider} failed",
        over={AlertKind.FAILING: "{spider} succeeds again", AlertKind.SUSPECT: "{spider} is no longer suspect",
              AlertKind.LATE: "{spider} is no longer late", AlertKind.LOGIN: "{spider} has a new login",
              AlertKind.DIGEST: "the digest {spider} is rendered completely again"},
        over_but_suspect="{spider} no longer fails, but its last run is suspect",
        removed="{spider} is no longer in the settings",
        since="Since", lasted="Duration", last_good="Last successful run", last_run="Last run", run="run {n}, {at}",
        never="never", message="Message",
        cookie="Cookie", ends="Expires", what_to_do="What to do",
        bring_in="log in with a browser, then import the browser's cookies with `pipeline cookies import {spider} FILE`, or "
                 "renew the file that the setting `cookies.file` names",
        by_itself="nothing, if the site allows an automatic login: the spider logs in again when this login has expired. "
                  "To test the login, run `pipeline login {spider}`",
        fix="New rules", rules_proposed="`pipeline mend {spider} --apply` writes the rules below to the settings file",
        rules_applied="the rules below were written to the settings file",
        rules_not_applied="they were not written, although mend = \"auto\": {why}", no_rules="none were found",
        log="Last lines of the log", more="and {n:,} more",
        footer="You receive this mail because [alerts] lists your address. One mail is sent when a problem starts, "
               "and another when the problem ends.", colon=": ", comma=", "),
    "zh": AlertWording(
        lang="zh", alert="告警",
        titles={AlertKind.FAILING: "{spider} 连续失败 {n} 次", AlertKind.SUSPECT: "{spider} 的结果可疑",
                AlertKind.LATE: "{spider} 迟到：已到运行时间，但没有成功的运行",
                AlertKind.LOGIN: "{spider} 的登录即将失效", AlertKind.DIGEST: "摘要 {spider} 无法按设置生成"},
        failed_once="{spider} 运行失败",
        over={AlertKind.FAILING: "{spider} 已恢复成功", AlertKind.SUSPECT: "{spider} 的结果恢复正常",
              AlertKind.LATE: "{spider} 不再迟到", AlertKind.LOGIN: "{spider} 已重新登录",
              AlertKind.DIGEST: "摘要 {spider} 已恢复按设置生成"},
        over_but_suspect="{spider} 不再失败，但最近一次运行的结果可疑",
        removed="{spider} 已不在设置中",
        since="开始于", lasted="持续", last_good="最近一次成功", last_run="最近一次运行", run="第 {n} 次运行，{at}",
        never="从未", message="信息",
        cookie="Cookie", ends="失效时间", what_to_do="怎么办",
        bring_in="用浏览器登录并导入其 Cookie：`pipeline cookies import {spider} 文件`，或更新 cookies.file 所指的文件",
        by_itself="只要网站允许自动登录就不必处理：失效后会自行重新登录。`pipeline login {spider}` 可先试一试",
        fix="新规则", rules_proposed="`pipeline mend {spider} --apply` 将下列规则写入设置文件",
        rules_applied="下列规则已写入设置文件", rules_not_applied="虽然 mend = \"auto\"，但未写入：{why}", no_rules="没有找到",
        log="日志末尾", more="另有 {n} 项",
        footer="您收到此邮件，是因为 [alerts] 中有您的地址。问题开始时发送一封，结束时再发送一封。", colon="：", comma="，"),
}
