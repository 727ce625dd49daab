// What is typed or pasted into the search is words. The search's own language would take "error[aws-denied]: ada" for a
// field called error, and the dashes of an option for what must not be there.
const post = Worker.prototype.postMessage
Worker.prototype.postMessage = function (message, ...more) {
  if (typeof message?.data === "string")
    message = { ...message, data: message.data.replace(/[:^~*+]+/g, " ").replace(/(^|[\s"])-+/g, "$1").trim() }
  return post.call(this, message, ...more)
}
