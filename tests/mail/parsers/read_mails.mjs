// Print what two independent parsers read in each mail (.eml) of a folder: one line of JSON per parser and mail.
//
//     node read_mails.mjs FOLDER          # after: npm install
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { simpleParser } from 'mailparser';
import PostalMime from 'postal-mime';

const mailboxes = (found) => (found || []).flat().flatMap(({ name, address, group }) => (group ? mailboxes(group) : [[name || '', address || '']]));
// postal-mime reads an attached CSV file as text: with LF line ends, and one at the end. So it is compared without those.
const asLines = (content) => Buffer.from(Buffer.from(content).toString('latin1').replaceAll('\r\n', '\n').replace(/\n+$/, ''), 'latin1');
const file = (name, type, content) => ({
  name: name ?? null, type,
  sha256: createHash('sha256').update(type === 'text/csv' ? asLines(content) : Buffer.from(content)).digest('hex'),
});

const target = (found) => found?.url ?? (found?.mail ? `mailto:${found.mail}` : '');

async function byMailparser(content) {
  const mail = await simpleParser(content, { skipHtmlToText: true, skipTextToHtml: true, skipImageLinks: true, skipTextLinks: true });
  const values = (found) => mailboxes([found || []].flat().map((header) => header.value));
  return {
    from: values(mail.from), to: values(mail.to), cc: values(mail.cc), reply_to: values(mail.replyTo),
    subject: mail.subject ?? '', unsubscribe: target(mail.headers.get('list')?.unsubscribe), message_id: mail.messageId ?? '', date: mail.date?.toISOString() ?? '',
    text: mail.text ?? '', html: mail.html || '',
    files: mail.attachments.map((one) => file(one.filename, one.contentType, one.content)),
    defects: mail.errors ?? [],
  };
}

async function byPostalMime(content) {
  const mail = await PostalMime.parse(content);
  return {
    from: mailboxes([mail.from ?? []]), to: mailboxes(mail.to), cc: mailboxes(mail.cc), reply_to: mailboxes(mail.replyTo),
    subject: mail.subject ?? '', unsubscribe: /<([^>]*)>/.exec(mail.headers.find(({ key }) => key === 'list-unsubscribe')?.value)?.[1] ?? '',
    message_id: mail.messageId ?? '', date: mail.date ?? '',
    text: mail.text ?? '', html: mail.html ?? '',
    files: mail.attachments.map((one) => file(one.filename, one.mimeType, one.content)),
    defects: [],
  };
}

const folder = process.argv[2];
for (const name of readdirSync(folder).filter((one) => one.endsWith('.eml')).sort()) {
  const content = readFileSync(join(folder, name));
  for (const [parser, parse] of Object.entries({ mailparser: byMailparser, 'postal-mime': byPostalMime })) {
    let read;
    try {
      read = await parse(content);
    } catch (error) {
      read = { defects: [String(error)] };
    }
    console.log(JSON.stringify({ mail: name, parser, ...read }));
  }
}
