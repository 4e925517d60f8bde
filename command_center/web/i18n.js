/**
 * The page's own words in Chinese and English.  `{0}` stands for an argument.  Words of devices, rules and classes
 * come from the server in both languages.
 */
import { state } from './store.js';

export const WORDS = {
  'level.red': ['红色 I 级', 'Red, level I'],
  'level.orange': ['橙色 II 级', 'Orange, level II'],
  'level.yellow': ['黄色 III 级', 'Yellow, level III'],
  'level.blue': ['蓝色 IV 级', 'Blue, level IV'],
  'color.red': ['红', 'Red'],
  'color.orange': ['橙', 'Orange'],
  'color.yellow': ['黄', 'Yellow'],
  'color.blue': ['蓝', 'Blue'],
  'state.unacknowledged': ['未确认', 'Unacknowledged'],
  'state.acknowledged': ['已确认', 'Acknowledged'],
  'state.ended_unacknowledged': ['已恢复 · 未确认', 'Ended, unacknowledged'],
  'state.closed': ['已关闭', 'Closed'],
  'count.unseen': ['未确认 {0}', '{0} unack.'],
  'category.fire': ['火警', 'Fire'],
  'category.warning': ['预警', 'Warning'],
  'category.fault': ['故障', 'Fault'],
  'category.maintenance': ['维护', 'Maintenance'],
  'category.test': ['测试', 'Test'],
  'category.tamper': ['异动', 'Tamper'],
  'condition.live': ['在线', 'Live'],
  'condition.stale': ['数据过期', 'Stale'],
  'condition.mute': ['无有效数据', 'No valid data'],
  'condition.never': ['从未上报', 'Never heard'],
  'quality.0': ['正常', 'Good'],
  'quality.64': ['超出合理范围', 'Implausible'],
  'quality.65': ['预热中', 'Warming up'],
  'quality.66': ['时钟可疑', 'Clock suspect'],
  'quality.67': ['读数不变', 'Stuck'],
  'quality.128': ['无应答', 'No answer'],
  'quality.129': ['设备自报故障', 'Device fault'],
  'quality.130': ['设备拒绝', 'Refused'],
  'quality.131': ['报文错误', 'Malformed'],
  'quality.132': ['链路断开', 'Link down'],
  'quality.other': ['质量码 {0}', 'Quality {0}'],
  'alarms': ['告警', 'Alarms'],
  'alarms.open': ['未关闭', 'Open'],
  'alarms.recent': ['近期记录', 'Recent'],
  'alarms.none': ['当前没有告警', 'No open alarms'],
  'alarms.none.more': ['没有规则被触发', 'No rule is in breach'],
  'alarms.none.recent': ['还没有记录', 'No records yet'],
  'alarms.loading': ['正在读取…', 'Loading…'],
  'alarms.asof': ['连接中断：以下为 {0} 的状态，不是现在', 'Connection lost: as of {0}, not now'],
  'alarms.more': ['再显示 {0} 条（共 {1} 条）', 'Show {0} more ({1} in all)'],
  'alarms.keys': ['↑ ↓ 选择 · Enter 设备 · A 确认', '↑ ↓ · Enter device · A acknowledge'],
  'alarm.began': ['{0} 开始', 'began {0}'],
  'alarm.ended': ['恢复于 {0}', 'ended {0}'],
  'alarm.ago': ['{0}前', '{0} ago'],
  'alarm.limit': ['限值', 'limit'],
  'alarm.late': ['补报数据', 'From late data'],
  'alarm.by': ['{0} · {1}', '{0} · {1}'],
  'alarm.new': ['新告警', 'New alarm'],
  'ack': ['确认', 'Acknowledge'],
  'ack.title': ['确认告警', 'Acknowledge alarm'],
  'ack.name': ['姓名', 'Your name'],
  'ack.comment': ['说明（可不填）', 'Comment (optional)'],
  'ack.cancel': ['取消', 'Cancel'],
  'ack.sending': ['正在提交…', 'Sending…'],
  'ack.name.missing': ['请填写姓名', 'Please enter your name'],
  'ack.failed': ['未能确认：{0}', 'Not acknowledged: {0}'],
  'ack.lost': ['连接已中断，此告警的状态可能已改变；提交时以服务器为准。',
    'The connection is lost and this alarm may have changed; the server decides when you submit.'],
  'lost': ['与指挥中心的连接已中断', 'Connection to the command centre lost'],
  'lost.since': ['自 {0} 起（{1}），画面不是实时状态，正在重新连接…', 'since {0} ({1}); the screen is not live; reconnecting…'],
  'connecting': ['正在连接指挥中心…', 'Connecting to the command centre…'],
  'health.link': ['画面', 'Screen'],
  'health.data': ['数据', 'Data'],
  'health.feed': ['告警流', 'Alarm feed'],
  'health.broker': ['消息服务', 'Broker'],
  'health.agents': ['网关', 'Gateways'],
  'health.devices': ['设备', 'Devices'],
  'health.live': ['实时', 'Live'],
  'health.lost': ['中断', 'Lost'],
  'health.ok': ['正常', 'OK'],
  'health.down': ['断开', 'Down'],
  'health.never': ['无', 'None'],
  'health.quiet': ['无消息', 'Quiet'],
  'sound.off': ['声音 关', 'Sound off'],
  'sound.on': ['声音 开', 'Sound on'],
  'sound.locked': ['声音被浏览器锁定', 'Sound locked by browser'],
  'language': ['English', '中文'],
  'tab.alarms': ['告警', 'Alarms'],
  'tab.map': ['地图', 'Map'],
  'tab.devices': ['设备', 'Devices'],
  'map': ['设备地图', 'Device map'],
  'map.fit': ['全域', 'Fit all'],
  'map.closer': ['放大', 'Zoom in'],
  'map.farther': ['缩小', 'Zoom out'],
  'map.plain': ['简图（此屏幕没有 WebGL）', 'Plain map (no WebGL here)'],
  'map.normal': ['正常', 'Normal'],
  'map.stale': ['过期或无数据', 'Stale or no data'],
  'map.empty': ['没有带坐标的设备', 'No device has coordinates'],
  'places': ['点位与设备', 'Sites and devices'],
  'places.find': ['查找设备、点位、类别…', 'Find device, site, class…'],
  'places.devices': ['{0} 台设备', '{0} devices'],
  'places.notlive': ['{0} 台无实时数据', '{0} not live'],
  'places.more': ['还有 {0} 台，请缩小查找范围', '{0} more; narrow the search'],
  'places.none': ['没有相符的设备', 'No device matches'],
  'device.close': ['关闭设备', 'Close device'],
  'device.site': ['点位', 'Site'],
  'device.class': ['类别', 'Class'],
  'device.profile': ['型号', 'Profile'],
  'device.agent': ['网关', 'Gateway'],
  'device.owner': ['责任单位', 'Owner'],
  'device.heard': ['最近上报', 'Last heard'],
  'device.never': ['从未上报', 'never'],
  'device.offline': ['网关离线', 'gateway offline'],
  'device.values': ['当前值', 'Current values'],
  'device.last': ['末次 {0}', 'last {0}'],
  'device.unknown': ['此设备已不在登记册中', 'This device is no longer registered'],
  'device.spotlight': ['最严重告警的设备', 'Device of the worst alarm'],
  'chart.range': ['时间范围', 'Range'],
  'chart.10': ['10 分', '10 min'],
  'chart.60': ['1 时', '1 h'],
  'chart.1440': ['24 时', '24 h'],
  'chart.loading': ['正在读取历史…', 'Loading history…'],
  'chart.empty': ['这段时间没有数据', 'No data in this time'],
  'chart.failed': ['历史读取失败：{0}', 'History not available: {0}'],
  'chart.limit': ['限值 {0}', 'limit {0}'],
};

const AT = { zh: 0, en: 1 };

/** The words for a key in the language of the screen. */
export function t(key, ...args) {
  const pair = WORDS[key];
  if (!pair) throw new Error(`no words for '${key}'`);
  return pair[AT[state.lang]].replace(/\{(\d)\}/g, (_, n) => args[n]);
}

/** A Text from the server in the language of the screen. */
export const say = (text) => (typeof text === 'string' ? text : text?.[state.lang] ?? text?.zh ?? '');

export const qualityWord = (quality) => (WORDS[`quality.${quality}`] ? t(`quality.${quality}`) : t('quality.other', quality));

export function setLanguage(lang) {
  state.lang = lang in AT ? lang : 'zh';
  document.documentElement.lang = state.lang === 'zh' ? 'zh-CN' : 'en';
  try {
    localStorage.setItem('yemai.lang', state.lang);
  } catch {
    // A kiosk may forbid storage: the choice then lasts as long as the page.
  }
}

/** The language asked for in the address, else the one chosen before, else Chinese. */
export function firstLanguage() {
  const asked = new URLSearchParams(location.search).get('lang');
  if (asked in AT) return asked;
  try {
    return localStorage.getItem('yemai.lang') ?? 'zh';
  } catch {
    return 'zh';
  }
}
