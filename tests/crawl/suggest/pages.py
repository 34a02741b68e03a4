"""Pages in the manner of shops, forums, file servers and news sites, with the rows that a reader sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WORDS = ["alpha", "bravo", "copper", "delta", "ember", "falcon", "granite", "harbor", "indigo", "jasper", "kernel", "lantern", "meadow", "nimbus", "orchid", "prairie", "quartz", "russet", "saffron", "timber", "umber", "velvet", "willow", "xenon", "yonder", "zephyr"]
HAN = "今日新闻中国经济发展报告北京上海科技公司宣布新产品市场增长国际会议召开教育改革政策"
NAVIGATION = ('<nav class="navbar"><ul><li><a href="/">Home</a></li><li><a href="/about">About us</a></li><li><a href="/blog">Blog</a></li>'
              '<li><a href="/login">Log in</a></li></ul></nav>')
FOOTER = ('<footer><ul class="links"><li><a href="/imprint">Imprint</a></li><li><a href="/privacy">Privacy</a></li>'
          '<li><a href="/terms">Terms of service</a></li></ul><p>© 2026 Example</p></footer>')


def title(number: int) -> str:
    return " ".join(WORDS[(number * 7 + place * 3) % 26] for place in range(5)).capitalize() + f" {number}"


def text(number: int) -> str:
    return " ".join(WORDS[(number * 11 + place * 5) % 26] for place in range(25)) + "."


def han(number: int) -> str:
    return "".join(HAN[(number * 5 + place * 3) % len(HAN)] for place in range(14))


def rows(template: str, count: int = 12) -> str:
    """Return the template once for each number. Its fields: {i}, {day} from 10, {title}, {text}, {word}, {han}."""
    return "".join(template.format(i=number, day=number + 10, title=title(number), text=text(number), word=WORDS[number % 26], han=han(number))
                   for number in range(count))


def page(content: str, beside: str = "") -> str:
    return (f"<!doctype html><html lang=en><head><title>List</title></head><body>{NAVIGATION}<div id=\"content\">{content}</div>{beside}{FOOTER}"
            "</body></html>")


@dataclass(frozen=True)
class Case:
    """A page, and what the first proposal for it must find: the number of rows, and values of the second row."""

    name: str
    html: str
    count: int = 12
    second: dict[str, Any] = field(default_factory=dict)
    url: str = "https://site.example/list"


SIDEBAR = ('<aside class="sidebar"><h3>Recent posts</h3><ul>' + rows('<li><a href="/r/{i}">{word} {i}</a></li>', 8) + '</ul><div class="tagcloud">'
           + rows('<a href="/tag/{word}">{word}</a> ', 26) + "</div></aside>")

CASES = [
    Case("a shop with cut titles", page('<ol class="row">' + rows(
        '<li class="col-xs-6 col-sm-4"><article class="product_pod"><div class="image_container"><a href="/b_{i}/"><img src="/m/{i}.jpg" class="thumbnail">'
        '</a></div><h3><a href="/b_{i}/" title="{title}">{title:.12}…</a></h3><div class="product_price"><p class="price_color">£{i}.77</p>'
        '<p class="instock availability">In stock</p><form><button>Add to basket</button></form></div></article></li>') + "</ol>", SIDEBAR),
        second={"title": title(1), "url": "https://site.example/b_1/", "image": "https://site.example/m/1.jpg",
                "price": {"amount": 1.77, "currency": "GBP", "text": "£1.77"}, "stock": "In stock"}),
    Case("records of two rows", "<body><table><tr><td><a href=news>News</a></td></tr></table><table>" + rows(
        '<tr class="athing" id="4{i}123"><td class="title"><span class="rank">{i}.</span></td><td class="title"><span class="titleline"><a href="https://s{i}.example/">'
        '{title}</a> <span class="sitebit">(<a href="from?site={i}">s{i}.example</a>)</span></span></td></tr><tr><td></td><td class="subtext">'
        '<span class="score" id="score_4{i}123">{day} points</span> by <a href="user?id={i}" class="hnuser">u{i}</a> <span class="age" title="2026-11-{day}T10:00:00">'
        '<a href="item?id={i}">{i} hours ago</a></span></td></tr><tr class="spacer"></tr>')
        + '<tr><td></td><td class="title"><a href="?p=2" class="morelink" rel="next">More</a></td></tr></table>',
        second={"title": title(1), "url": "https://s1.example/", "score": 11, "author": "u1", "date": "2026-11-11T10:00:00"}),
    Case("an index of files as text", '<h1>Index of /pub/</h1><hr><pre><a href="../">../</a>\n' + rows(
        '<a href="{word}-1.{i}.tar.gz">{word}-1.{i}.tar.gz</a>       {day}-Nov-2026 10:00     {i}99\n') + "</pre><hr>",
        second={"title": "bravo-1.1.tar.gz", "url": "https://site.example/pub/bravo-1.1.tar.gz", "date": "2026-11-11T10:00:00", "size": "199"},
        url="https://site.example/pub/"),
    Case("an index of files as text with links to sort it", '<pre><img src="b.gif" alt="Icon "> <a href="?C=N;O=D">Name</a>      <a href="?C=M;O=A">'
         'Last modified</a>      <a href="?C=S;O=A">Size</a><hr><img src="k.gif" alt="[DIR]"> <a href="/">Parent Directory</a>              -   \n' + rows(
        '<img src="f.gif" alt="[DIR]"> <a href="{word}.zip">{word}.zip</a>                  2026-11-{day} 12:00   1.{i}K  \n') + "<hr></pre>",
        second={"title": "bravo.zip", "url": "https://site.example/bravo.zip", "date": "2026-11-11T12:00:00", "size": "1.1K"}),
    Case("an index of files with the dates before the names", '<pre><A HREF="/">[To Parent Directory]</A><br><br>' + rows(
        ' 11/{day}/2026  10:00 AM        {i}011 <A HREF="/pub/{word}.txt">{word}.txt</A><br>') + "</pre>",
        second={"title": "bravo.txt", "url": "https://site.example/pub/bravo.txt", "date": "2026-11-11T10:00:00"}),
    Case("a table with headings and the parent directory", '<table><tr><th></th><th><a href="?C=N">Name</a></th><th><a href="?C=M">Last modified</a></th>'
         '<th>Size</th></tr><tr><th colspan="4"><hr></th></tr><tr><td><img src="b.gif"></td><td><a href="/">Parent Directory</a></td><td>&nbsp;</td><td>-</td></tr>'
         + rows('<tr><td><img src="f.gif"></td><td><a href="{word}/">{word}/</a></td><td>2026-11-{day} 12:00  </td><td>{i}.5M</td></tr>')
         + '<tr><th colspan="4"><hr></th></tr></table>',
         second={"title": "bravo/", "url": "https://site.example/bravo/", "date": "2026-11-11T12:00:00", "size": "1.5M"}),
    Case("a table with rows that head groups", page('<table class="list"><tr><th>ID</th><th>Activity</th><th>Title</th><th>Creator</th></tr>'
         '<tr><th class="group" colspan="4">Priority: urgent</th></tr>' + rows(
        '<tr class="normal"><td>{day}</td><td class="date">2026-11-{day}</td><td><a href="issue{day}">{title}</a></td><td><a href="user{i}">u{i}</a></td></tr>', 6)
        + '<tr><td colspan="4"><b>Priority: bug</b></td></tr>' + rows(
        '<tr class="alt"><td>3{day}</td><td class="date">2026-11-{day}</td><td><a href="issue3{day}">Other {title}</a></td><td><a href="user{i}">u{i}</a></td></tr>', 6)
        + "</table>"), second={"title": title(1), "url": "https://site.example/issue11", "id": "11", "date": "2026-11-11", "author": "u1"}),
    Case("terms and descriptions", page('<dl class="packages">' + rows('<dt><a href="/pkg/{word}">{word}</a></dt><dd>{text}</dd>') + "</dl>"),
         second={"title": "bravo", "url": "https://site.example/pkg/bravo", "description": text(1)}),
    Case("dates and headlines of a Japanese site", '<html lang=ja><body><ul><li><a href="/">ホーム</a></li><li><a href="/c">会社情報</a></li></ul><dl>' + rows(
        '<dt>2026年11月{day}日</dt><dd><a href="/news/{i}.html">{han}のお知らせ</a></dd>') + "</dl></body></html>",
        second={"title": f"{han(1)}のお知らせ", "url": "https://site.example/news/1.html", "date": "2026-11-11"}),
    Case("headings and paragraphs without a wrapper", page("<h1>Changelog</h1>" + rows(
        '<h2 id="v1-{i}"><a href="/release/1.{i}">Version 1.{i} {word}</a></h2><p class="date">2026-11-{day}</p><p>{text}</p>')),
        second={"title": "Version 1.1 bravo", "url": "https://site.example/release/1.1", "date": "2026-11-11", "description": text(1)}),
    Case("cards with classes of the look only", '<body><div class="flex px-4"><a class="text-xl" href="/">Acme</a><a class="text-sm" href="/docs">Docs</a></div>'
         '<div class="grid grid-cols-3 gap-6">' + rows(
        '<div class="bg-white rounded-lg p-6 hover:shadow-lg"><img class="w-full h-48" src="/i/{i}.png"><div class="mt-4"><a class="text-lg" href="/p/{i}">{title}</a>'
        '<p class="mt-2 text-sm">{text}</p><div class="mt-4 flex"><span class="font-bold">${i}.99</span><span class="text-xs">2026-11-{day}</span></div></div></div>')
        + "</div></body>", second={"title": title(1), "url": "https://site.example/p/1", "date": "2026-11-11",
                                   "price": {"amount": 1.99, "currency": "USD", "text": "$1.99"}}),
    Case("hashed classes of CSS modules", '<body><div id="__next"><div class="Header_bar__x8Kq2"><a href="/">Home</a></div><div class="Grid_grid__3kLmN">' + rows(
        '<div class="ProductCard_root__x7a9f"><a class="ProductCard_link__q1w2e" href="/item/{i}"><img src="/{i}.webp"><div class="ProductCard_title__9dF3k">{title}</div>'
        '</a><div class="ProductCard_price__aB3x9">{day},50 €</div></div>') + "</div></div></body>",
        second={"title": title(1), "url": "https://site.example/item/1", "price": {"amount": 11.5, "currency": "EUR", "text": "11,50 €"}}),
    Case("hashed classes of styled components", '<body><div id="root"><ul class="sc-bwzfXH hJkLmN">' + rows(
        '<li class="sc-htpNat gTrWqS"><a class="sc-bxivhb dCvBnM" href="/article/{i}">{title}</a><span class="sc-ifAKCX xZaQwE">Nov {day}, 2026</span>'
        '<p class="sc-EHOje pLoKiJ">{text}</p></li>') + "</ul></div></body>",
        second={"title": title(1), "url": "https://site.example/article/1", "date": "2026-11-11", "description": text(1)}),
    Case("a table for the layout of the page", "<body><table><tr><td width=150><font size=2><a href=a.html>Start</a><br><a href=b.html>News</a></font></td><td><table>"
         + rows('<tr bgcolor="#eee"><td><font size=2>{day}.11.2003</font></td><td><b><a href="show.asp?id={i}">{title}</a></b><br><font size=1>{text}</font></td></tr>')
         + "</table></td></tr></table></body>",
         second={"title": title(1), "url": "https://site.example/show.asp?id=1", "date": "2003-11-11", "description": text(1)}),
    Case("products in the cells of a table", "<body><table class=products>" + "".join("<tr>" + "".join(
        f'<td align=center><a href="product.php?pid={i}"><img src="thumbs/{i}.jpg"></a><br><a href="product.php?pid={i}"><b>{title(i)}</b></a><br>'
        f"Our price: <font color=red>${i}.00</font></td>" for i in range(row * 3, row * 3 + 3)) + "</tr>" for row in range(4)) + "</table></body>",
        second={"title": title(1), "url": "https://site.example/product.php?pid=1", "price": {"amount": 1, "currency": "USD", "text": "$1.00"}}),
    Case("prices beside struck-out prices", page('<ul class="products">' + rows(
        '<li class="product post-{i}"><a href="/product/{i}/"><h2 class="product__title">{title}</h2><span class="price"><span class="amount">'
        "<bdi>${i}.00</bdi></span></span></a></li>", 8) + rows(
        '<li class="product post-9{i} sale"><a href="/product/9{i}/"><h2 class="product__title">Sale {title}</h2><span class="price"><del>'
        '<span class="amount"><bdi>$20.00</bdi></span></del> <ins><span class="amount"><bdi>${i}.50</bdi></span></ins></span></a></li>', 4) + "</ul>"),
        second={"title": title(1), "price": {"amount": 1, "currency": "USD", "text": "$1.00"}}),
    Case("a Chinese list", '<html lang=zh><body><ul class="nav"><li><a href="/">首页</a></li><li><a href="/gn">国内</a></li><li><a href="/cj">财经</a></li></ul>'
         '<div class="main"><ul>' + rows('<li><a href="/doc-{i}.shtml">{han}</a><span>2026-11-{day}</span></li>') + "</ul></div></body></html>",
         second={"title": han(1), "url": "https://site.example/doc-1.shtml", "date": "2026-11-11"}),
    Case("advertisements between the offers", page('<div class="results">' + "".join(
        rows('<div class="listing"><a class="photo" href="/o/{i}"><img data-src="/o/{i}.jpg" src="blank.gif"></a><h2><a href="/o/{i}">{title}</a></h2>'
             '<div class="price">{day}0.000 €</div><div class="area">{day} m²</div></div>').replace("/o/", f"/o/{part}").replace(
                 "</h2>", f" {part}</h2>") + '<div class="ad-slot">Advertisement <a href="https://ads.example/">Buy now</a></div>' for part in range(2)) + "</div>"),
        count=24, second={"url": "https://site.example/o/01", "image": "https://site.example/o/01.jpg", "area": "11 m²"}),
    Case("links as cards", page('<div class="grid">' + rows(
        '<a class="card" href="/course/{i}"><img src="/c/{i}.jpg"><h3>{title}</h3><p>{text}</p><span class="teacher">{word} T</span></a>') + "</div>"),
        second={"title": title(1), "url": "https://site.example/course/1", "teacher": "bravo T"}),
    Case("answers inside the messages they answer", "<body><h1>Archive</h1><ul>" + rows(
        '<li><a href="{day}.html">[Dev] {title}</a><i>{word} W</i><ul><li><a href="9{day}.html">Re: [Dev] {title}</a><i>{word} X</i></li></ul></li>', 8) + "</ul></body>",
        count=16, second={"title": f"Re: [Dev] {title(0)}", "url": "https://site.example/910.html"}),
    Case("images only", page('<div class="medias">' + rows('<div class="media"><a href="p{i}.html"><img src="t{i}.jpg" alt="Photo {word}"></a></div>') + "</div>"),
         second={"url": "https://site.example/p1.html", "image": "https://site.example/t1.jpg", "title": "Photo bravo"}),
    Case("custom elements", "<body><x-app><x-grid>" + rows(
        '<x-video><a href="/watch?v=a{i}"><img src="/t/{i}.jpg"></a><h3><a href="/watch?v=a{i}">{title}</a></h3><x-meta>{i}00 views</x-meta></x-video>')
        + "</x-grid></x-app></body>", second={"title": title(1), "url": "https://site.example/watch?v=a1", "views": 100}),
    Case("rows that a script makes clickable", page("<table><thead><tr><th>Order</th><th>Customer</th><th>Total</th></tr></thead><tbody>" + rows(
        '<tr class="clickable" data-href="/orders/{day}"><td>#{day}</td><td>{word} Smith</td><td>€ {day}.00</td></tr>') + "</tbody></table>"),
        second={"url": "https://site.example/orders/11", "total": {"amount": 11, "currency": "EUR", "text": "€ 11.00"}}),
    Case("a long list below a short one", page('<div class="cards">' + rows('<div class="card-f"><a href="/f/{i}"><h3>Featured {title}</h3></a></div>', 3)
         + "</div>" + rows('<div class="entry-row"><span class="when">2026-11-{day}</span> <a href="/l/{i}">{title}</a></div>'), SIDEBAR),
         second={"title": title(1), "url": "https://site.example/l/1", "date": "2026-11-11"}),
    Case("tags and counts with their units", page('<div id="questions">' + rows(
        '<div class="summary" data-post-id="{day}"><div class="stats"><span class="n">{i}</span> <span class="unit">votes</span></div><h3><a href="/q/{i}">{title}</a></h3>'
        '<div class="tags"><a class="post-tag" href="/t/{word}">{word}</a><a class="post-tag" href="/t/x">x</a></div></div>') + "</div>"),
        second={"title": title(1), "score": 1, "id": "11", "tags": ["bravo", "x"]}),
    Case("few articles beside a long menu without names", '<body><div id="a"><ul>' + rows('<li><a href="/m/{i}">{word} {i}</a></li>', 40) + '</ul></div><div id="b">' + rows(
        '<div class="x1"><h2><a href="/n/{i}">{title}</a></h2><p>{text}</p></div>', 5) + "</div></body>",
        count=5, second={"title": title(1), "url": "https://site.example/n/1", "description": text(1)}),
    Case("records with an editor of each value", page('<table class="tickets">' + rows(
        '<tbody class="list-item"><tr><td><b><a href="/t/{day}">{day}</a></b></td><td><form class="editor"><input name="Subject" value="x"><span class="sr-only">Loading...'
        '</span></form><div class="value"><b><a href="/t/{day}">{title}</a></b></div></td></tr><tr><td></td><td><small>{word}</small></td></tr></tbody>', 6) + "</table>"),
        count=6, second={"title": title(1), "url": "https://site.example/t/11"}),
    Case("stories beside a longer list of headlines", '<body><div class="c1">' + rows(
        '<div class="story"><img src="/{i}.jpg"><h3><a href="/st/{i}">{title}</a></h3><p>{text}</p></div>', 8) + '</div><div class="c2"><ul>' + rows(
        '<li><span>10:{day}</span> <a href="/h/{i}">Other {title}</a></li>', 20) + "</ul></div></body>",
        count=8, second={"title": title(1), "url": "https://site.example/st/1"}),
    Case("issues whose number and summary lead to the same page", page('<table class="issues"><thead><tr><th>Key</th><th>Milestone</th><th>Summary</th><th>Owner</th>'
         "</tr></thead><tbody>" + rows('<tr><td class="key"><a href="/i/{day}">#{day}</a></td><td class="milestone"><a class="milestone" href="/m/{i}">Milestone {i} {word}'
         '</a></td><td class="summary"><a href="/i/{day}">{title}</a></td><td class="owner"><a href="/u/{word}">{word} W</a></td></tr>') + "</tbody></table>"),
         second={"title": title(1), "url": "https://site.example/i/11"}),
    Case("issues of a list with labels and versions", page('<ul class="bugs">' + rows(
        '<li><a class="version" href="/v/{i}">Release {word} {i}.0</a> <a class="num" href="/bug/{day}">APP-{day}</a> <span class="summary"><a href="/bug/{day}">{title}</a></span>'
        ' <a href="/p/{word}">{word} project</a></li>') + "</ul>"), second={"title": title(1), "url": "https://site.example/bug/11"}),
    Case("issues whose number alone is a link", page("<table><tr><th>Issue</th><th>Assignee</th><th>Summary</th></tr>" + rows(
        '<tr><td><a href="/browse/APP-{day}">APP-{day}</a></td><td>{word} Smith</td><td class="summary">{title}</td></tr>') + "</table>"),
        second={"title": title(1), "url": "https://site.example/browse/APP-11"}),
    Case("links around a whole commit", page('<div class="log"><ul>' + rows(
        '<li><a class="commit" href="/c/{day}"><span class="line1"><span>{title}</span></span><span class="line2"><span>{word} Okafor</span> <span>{i} years ago</span>'
        "</span></a></li>") + "</ul></div>"), second={"title": title(1), "url": "https://site.example/c/11"}),
    Case("links around a whole row with a bold subject", page('<div class="inbox">' + rows(
        '<a class="mail" href="/mail/{i}"><div class="who">{word} Smith</div><div><b>{title}</b></div><div class="when">2026-11-{day}</div></a>') + "</div>"),
        second={"title": title(1), "url": "https://site.example/mail/1", "date": "2026-11-11"}),
    Case("links around a whole job offer", page('<div class="jobs">' + rows(
        '<div class="job"><a href="/jobs/{i}"><p class="role">{title}</p><p class="employer">{word} Ltd</p><p class="city">Oslo {i}</p></a></div>') + "</div>"),
        second={"title": title(1), "url": "https://site.example/jobs/1"}),
    Case("revisions with a comment that is no link", page('<table class="log">' + rows(
        '<tr><td class="rev"><a href="/rev/{day}ab34cd5">{day}ab34cd5</a></td><td class="user"><a href="/u/{word}">{word} Okafor</a></td><td class="comment">{title}</td></tr>')
        + "</table>"), second={"title": title(1), "url": "https://site.example/rev/11ab34cd5"}),
    Case("numbered revisions with a summary", page('<div class="changes">' + rows(
        '<div class="change"><a href="/r/{day}">r{day}</a> <span class="summary">{title}</span> by <a href="/u/{word}">{word} Okafor</a></div>') + "</div>"),
        second={"title": title(1), "url": "https://site.example/r/11"}),
    Case("changes below rows with their days", page('<table class="history">' + "".join(
        f'<tr class="day"><td colspan="4"><span class="when">2026-11-{28 - day}</span></td></tr>' + "".join(
            f'<tr><td></td><td class="item"><a href="/w/{i}">{title(i)}</a></td><td class="time">0{i % 9}:00</td><td><a href="/h/{i}">history</a></td></tr>'
            for i in range(day * 2, day * 2 + 1 + day % 3)) + '<tr><td class="end" colspan="4">&nbsp;</td></tr>' for day in range(7)) + "</table>"),
         count=13, second={"title": title(2), "url": "https://site.example/w/2"}),
    Case("matches below rows with their leagues", page("<table>" + "".join(
        f'<tr><th colspan="3"><a href="/league/{league}">League {WORDS[league]}</a></th></tr>' + "".join(
            f'<tr><td>1{i % 9}:00</td><td><a href="/match/{league}{i}">{title(league * 3 + i)}</a></td><td>{i} : 1</td></tr>' for i in range(2 + league % 2))
        for league in range(6)) + "</table>"), count=15, second={"title": title(1), "url": "https://site.example/match/01"}),
    Case("entries below the headings of their months", page('<div class="archive">' + "".join(
        f"<h3>Month {WORDS[month]}</h3>" + "".join(
            f'<div class="line"><span class="day">2026-1{month % 3}-1{i}</span> <a href="/a/{month}{i}">{title(month * 3 + i)}</a></div>' for i in range(1 + month % 3))
        for month in range(8)) + "</div>"), count=15, second={"title": title(3), "url": "https://site.example/a/10"}),
    Case("files and folders whose links have different classes", '<main><h1>Index of <a href="/">files/</a> <a href="/pub/">pub/</a></h1><ul id="files">'
         '<li><a href="/" class="directory">..</a></li>' + rows('<li><a href="/pub/{word}-{i}.txt" class="file txt">{word}-{i}.txt</a></li>', 9)
         + rows('<li><a href="/pub/{word}-{day}/" class="folder">{word}-{day}/</a></li>', 3) + "</ul></main>",
         second={"title": "bravo-1.txt", "url": "https://site.example/pub/bravo-1.txt"}, url="https://site.example/pub/"),
    Case("rows of files and of folders", page("<table><tr><th>Name</th><th>Size</th></tr>" + rows(
        '<tr class="dir"><td><a href="/d/{word}{day}/">{word}{day}</a></td><td>-</td></tr>', 4) + rows(
        '<tr class="file"><td><a href="/f/{word}{i}.iso">{word}{i}.iso</a></td><td>{i}.5M</td></tr>', 8) + "</table>"),
        second={"title": "bravo11", "url": "https://site.example/d/bravo11/"}),
    Case("boxes of repositories and of folders", page('<div class="browser">' + rows(
        '<div class="repo"><a href="/r/{word}{i}">{word}{i} repository</a><span class="date">2026-11-{day}</span></div>', 8) + rows(
        '<div class="group"><a href="/g/{word}{day}">{word}{day} folder</a><span class="date">2026-11-{day}</span></div>', 4) + "</div>"),
        second={"title": "bravo1 repository", "url": "https://site.example/r/bravo1"}),
    Case("issues with a link to edit them and a summary that is no link", page('<table id="buglist"><tr><th></th><th>ID</th><th>Severity</th><th>Summary</th></tr>' + rows(
        '<tr><td class="edit"><a href="/update?id={day}"><i title="Edit"></i></a></td><td class="id"><a href="/view?id={day}">00000{day}</a></td><td>minor</td>'
        '<td class="summary">{title}</td></tr>') + "</table>"), second={"title": title(1), "url": "https://site.example/view?id=11"}),
    Case("issues in one line each", page("<h2>Outstanding</h2><ul>" + rows(
        '<li><a href="/bug?id=9{day}">#9{day}</a> [<abbr title="normal">n</abbr>] [<a href="/pkg/{word}">{word}</a>] <a href="/bug?id=9{day}">{title}</a></li>') + "</ul>"),
        second={"title": title(1), "url": "https://site.example/bug?id=911"}),
    Case("revisions with the same link in each", page("<h2>Log of /trunk</h2>" + rows(
        '<div><hr>Revision <a href="/r?revision={day}"><b>{day}</b></a> - <a href="/v?rev={day}">Directory listing</a><br>Modified <em>Fri Nov {day} 10:00:00 2026</em> by '
        '<em>{word}</em><br><pre class="log">{title}</pre></div>')), second={"title": title(1)}),
    Case("revisions whose authors are in an element called title", page('<div class="event-list">' + rows(
        '<div class="event"><div class="commit-title"><a href="/commit/{day}abcdef9">{day}abcdef</a> — <a href="/~{word}">{word}</a> <span title="2026-11-{day}">{i} days ago'
        '</span></div><pre class="commit">{title}</pre></div>') + "</div>"), second={"title": title(1), "url": "https://site.example/commit/11abcdef9"}),
    Case("entries of lists below the headings of their days", page('<div class="timeline">' + "".join(
        f"<h2>Day {WORDS[day]}:</h2><ul>" + "".join(f'<li><a href="/change/{day}{i}">{title(day * 3 + i)}</a> <span class="author">{WORDS[i]} W</span></li>'
                                                    for i in range(2 + day % 2)) + "</ul>" for day in range(6)) + "</div>"),
         count=15, second={"title": title(1), "url": "https://site.example/change/01"}),
    Case("stories with two links to their authors", page('<ol class="stories">' + rows(
        '<li class="story"><div class="voters"><a class="upvoter" href="/login">{day}</a></div><div class="details"><span class="link"><a href="https://e{i}.example/">{title}</a>'
        '</span> <a class="domain" href="/d/{i}">e{i}.example</a><div class="byline"><a href="/~{word}"><img src="/av/{i}.png"></a><a class="u-author" href="/~{word}">{word} W</a>'
        "</div></div></li>") + "</ol>"), second={"title": title(1), "url": "https://e1.example/"}),
    Case("changes in lists of terms below the headings of their days", page('<div class="timeline">' + "".join(
        f"<h2>Day {WORDS[day]}:</h2><dl>" + "".join(
            f'<dt class="changeset"><a href="/changeset/{day}{i}"><span class="time">1{i}:00</span> Changeset <em>[{day}{i}]</em> by <span class="author">{WORDS[i]}</span></a></dt>'
            f'<dd class="changeset">{title(day * 3 + i)}</dd>' for i in range(2 + day % 2)) + "</dl>" for day in range(6)) + "</div>"),
         count=15, second={"url": "https://site.example/changeset/01"}),
    Case("kinds of a library under two headings", page('<section><h2>Structs</h2><ul class="item-table">' + rows(
        '<li><div class="item-name"><a class="struct" href="struct.{word}{i}.html">{word}{i}</a></div><div class="desc">{text}</div></li>', 8)
        + '</ul><h2>Traits</h2><ul class="item-table">' + rows(
        '<li><div class="item-name"><a class="trait" href="trait.{word}{i}.html">T{word}{i}</a></div><div class="desc">{text}</div></li>', 4) + "</ul></section>"),
         second={"title": "bravo1", "url": "https://site.example/struct.bravo1.html"}),
]
